// Patterns of channel names: `*` stands for any run of characters, none included, `?` for one; `\` before either, or before
// itself, takes its meaning away. No expression of the language's own: those backtrack, and the pattern is somebody else's.
//
// Cost: at most the product of both lengths, and in that case 65,025 steps; in all usual ones, their sum.

const STAR = '*';
const ANY_ONE = '?';
const ESCAPE = '\\';

/** What a pattern is made of: '*', '?', or a character that stands for itself. */
interface Piece {
  readonly kind: 'run' | 'one' | 'self';
  readonly text: string;
}

export class Glob {
  private readonly pieces: readonly Piece[];

  constructor(pattern: string) {
    const pieces: Piece[] = [];
    const characters = [...pattern];
    for (let i = 0; i < characters.length; i++) {
      const text = characters[i] as string;
      if (text === STAR) {
        if (pieces.at(-1)?.kind !== 'run') pieces.push({ kind: 'run', text });
      } else if (text === ANY_ONE) pieces.push({ kind: 'one', text });
      else if (text === ESCAPE && i + 1 < characters.length)
        pieces.push({ kind: 'self', text: characters[++i] as string });
      else pieces.push({ kind: 'self', text });
    }
    this.pieces = pieces;
  }

  matches(name: string): boolean {
    const { pieces } = this;
    const characters = [...name];
    let piece = 0;
    /** The last run, and up to where it reaches so far: when what follows it does not fit, it reaches one further. */
    let run = -1;
    let reach = 0;
    for (let at = 0; at < characters.length; ) {
      const next = pieces[piece];
      if (next?.kind === 'run') {
        run = piece++;
        reach = at;
      } else if (next?.kind === 'one' || next?.text === characters[at]) {
        piece++;
        at++;
      } else if (run >= 0) {
        piece = run + 1;
        at = ++reach;
      } else {
        return false;
      }
    }
    while (pieces[piece]?.kind === 'run') piece++;
    return piece === pieces.length;
  }
}
