// Channel names: what a publication is addressed to and a subscriber asks for.
//
// A name is 1 to 255 bytes of UTF-8 without control characters. Names that begin with ':' are the gateway's own (its
// envelope and, later, its fences travel on them), so clients may neither subscribe nor publish to them. The check runs
// once a subscription and once an API publication, never once a delivery.

export const CHANNEL_LIMIT_BYTES = 255;

/** The first character of the names that only the gateway itself uses. */
export const RESERVED_PREFIX = ':';

/** What fences travel on: a publication there is the id of a batch of connections that move (workers/moving/). */
export const FENCE_CHANNEL = `${RESERVED_PREFIX}fence`;

/** What one worker says to all of them travels on (workers/commands.ts). */
export const COMMAND_CHANNEL = `${RESERVED_PREFIX}command`;

/** And what they answer that one. */
export const ANSWER_CHANNEL = `${RESERVED_PREFIX}answer`;

/** What carries a mark of the history (longwire.lua): a publication with a place and nothing else. */
export const MARK_CHANNEL = `${RESERVED_PREFIX}mark`;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

/**
 * Says what is wrong with a channel name, or null when a client may use it.
 *
 * The text is meant for the person who sent the name; it names the rule, not the value.
 */
export function channelFault(name: string): string | null {
  if (name.length === 0) return 'a channel name must not be empty';
  if (Buffer.byteLength(name) > CHANNEL_LIMIT_BYTES) {
    return `a channel name must not be longer than ${CHANNEL_LIMIT_BYTES} bytes`;
  }
  if (name.startsWith(RESERVED_PREFIX))
    return `channel names that begin with '${RESERVED_PREFIX}' are the gateway's own`;
  if (CONTROL_CHARACTER.test(name)) return 'a channel name must not hold control characters';
  return null;
}
