// A worker's way to the primary: open only while the channel is.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ToPrimary } from '../../src/ipc.ts';
import { portToPrimary } from '../../src/primary-port.ts';

describe('the port to the primary', () => {
  it('takes nothing over a channel that is closed or was never there', () => {
    const hello: ToPrimary = { type: 'hello' };
    assert.equal(portToPrimary({ connected: false, send: () => true }).send(hello), false);
    assert.equal(portToPrimary({ connected: true }).send(hello), false);
    assert.equal(portToPrimary({ connected: true, send: () => false }).send(hello), true);
  });
});
