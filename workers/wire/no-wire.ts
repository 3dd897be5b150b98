// The wire of a connection whose descriptor is still on its way from another worker: it takes nothing and says nothing.

import type { Wire } from './wire.ts';

export const NO_WIRE: Wire = {
  outboxBytes: 0,
  outboxEntries: 0,
  shareable: false,
  relayed: false,
  warm: () => 0,
  attach() {},
  write() {},
  secure: () => false,
  pause() {},
  resume() {},
  end() {},
  destroy() {},
  share: () => null,
  peerAddress: () => '',
};
