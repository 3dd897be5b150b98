// Reference: a Node that does nothing. What it takes is what any Node program takes before its first line.

setInterval(() => undefined, 60_000);
