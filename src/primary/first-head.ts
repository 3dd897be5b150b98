// The first head of a connection, collected from the chunks that it comes in, until it is whole: what the sticky front has
// to see before it can say whose connection that is.
//
// Each byte is looked at once, for the empty line alone; whether the head is a good one is the worker's business. Chunks are
// kept as they came, and put together when they are many, so that a head that comes byte by byte costs O(n) memory.

const CR = 0x0d;
const EMPTY_LINE = Buffer.from('\r\n\r\n', 'latin1');
/** What a chunk costs besides its bytes. */
const CHUNK_BYTES = 128;
const CHUNK_LIMIT = 64;

export class FirstHead {
  #chunks: Buffer[] = [];
  /** How much of an empty line the last bytes are. */
  #matched = 0;
  /** Bytes of it so far. */
  length = 0;

  /** Memory that it holds. */
  get heldBytes(): number {
    return this.length + this.#chunks.length * CHUNK_BYTES;
  }

  /** Takes the next chunk; true once the head is whole, whatever has come behind it. */
  push(chunk: Buffer): boolean {
    this.#chunks.push(chunk);
    this.length += chunk.length;
    if (this.#chunks.length === CHUNK_LIMIT) this.#chunks = [Buffer.concat(this.#chunks)];
    for (const byte of chunk) {
      // Of its beginnings, only CR alone can begin anew in the middle.
      if (byte === EMPTY_LINE[this.#matched]) this.#matched++;
      else this.#matched = byte === CR ? 1 : 0;
      if (this.#matched === EMPTY_LINE.length) return true;
    }
    return false;
  }

  /** Everything that has come, and nothing is kept. */
  take(): Buffer {
    const whole = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.length = 0;
    return whole;
  }
}
