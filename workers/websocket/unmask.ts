// Takes the mask off a client's bytes (RFC 6455 §5.3) while they are copied to where they are kept.
//
// Every frame from a client is masked, so this is the one loop that each byte from a client goes through. Long stretches
// are copied natively and then unmasked four bytes at a time where they lie now; short ones, which is nearly all that
// clients send, byte by byte, for they would not earn back the view that words need. The source is never changed: it
// may be a buffer that all connections share.
//
// The mask is an integer whose lowest byte belongs to the next payload byte. Cost: one view for a long stretch.

/** From here on words are faster: measured on Node 20, 0.26 ns a byte and 85 ns for copy and view; 1.3 ns byte by byte. */
const WORDS_FROM_BYTES = 96;

/** The mask's lowest byte must be the word's first. Elsewhere (s390x) all goes byte by byte. */
const LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/** Copies `count` bytes from `source[start]` on to `target[at]` on, without their mask. */
export function copyUnmasked(
  source: Buffer,
  start: number,
  target: Buffer,
  at: number,
  count: number,
  mask: number,
): void {
  if (count < WORDS_FROM_BYTES || !LITTLE_ENDIAN) {
    for (let i = 0; i < count; i++) {
      target[at + i] = (source[start + i] as number) ^ (mask >>> ((i & 3) << 3));
    }
    return;
  }
  source.copy(target, at, start, start + count);
  const before = -(target.byteOffset + at) & 3;
  for (let i = 0; i < before; i++) target[at + i] = (target[at + i] as number) ^ (mask >>> (i << 3));

  const wordMask = rotateMask(mask, before);
  const wordCount = (count - before) >> 2;
  const words = new Int32Array(target.buffer, target.byteOffset + at + before, wordCount);
  for (let i = 0; i < wordCount; i++) words[i] = (words[i] as number) ^ wordMask;

  for (let i = before + (wordCount << 2); i < count; i++) {
    target[at + i] = (target[at + i] as number) ^ (mask >>> ((i & 3) << 3));
  }
}

/** The mask for what comes `count` payload bytes later. */
export function rotateMask(mask: number, count: number): number {
  const bits = (count & 3) << 3;
  // A shift by 32 is a shift by 0, which is right here: both halves are the mask then.
  return (mask >>> bits) | (mask << (32 - bits));
}
