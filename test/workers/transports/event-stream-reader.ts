// Reads an event stream as the WHATWG HTML standard has it (§9.2.5 Parsing, §9.2.6 Interpreting), step by step and with no
// other aim than to be what is written there: the judge of what our encoder writes, beside the package eventsource-parser.

export interface StreamEvent {
  type: string;
  data: string;
  lastEventId: string;
}

export interface StreamReading {
  events: StreamEvent[];
  comments: number;
  retryMs: number | null;
}

export function readEventStream(bytes: Buffer): StreamReading {
  // "Streams must be decoded using the UTF-8 decode algorithm": takes off one BOM, replaces what is not UTF-8.
  const text = new TextDecoder('utf-8').decode(bytes);
  const reading: StreamReading = { events: [], comments: 0, retryMs: null };
  let data = '';
  let type = '';
  let lastEventId = '';
  for (const line of linesOf(text)) {
    const colon = line.indexOf(':');
    if (line === '') {
      // "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string."
      if (data !== '') {
        reading.events.push({ type: type === '' ? 'message' : type, data: data.slice(0, -1), lastEventId });
      }
      data = '';
      type = '';
    } else if (colon === 0) {
      reading.comments++;
    } else {
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
      if (field === 'event') type = value;
      else if (field === 'data') data += `${value}\n`;
      else if (field === 'id' && !value.includes('\0')) lastEventId = value;
      else if (field === 'retry' && /^[0-9]+$/.test(value)) reading.retryMs = Number(value);
    }
  }
  return reading;
}

/** Lines that have their end: CRLF, LF or CR. What is left at the end of the stream is no line. */
function linesOf(text: string): string[] {
  const lines: string[] = [];
  let begin = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '\r' && text[i] !== '\n') continue;
    lines.push(text.slice(begin, i));
    if (text[i] === '\r' && text[i + 1] === '\n') i++;
    begin = i + 1;
  }
  return lines;
}
