// What an operator reads when the public port cannot be opened.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startFault } from '../../src/primary/start-fault.ts';

it('says what is wrong and which knob puts it right', () => {
  const config = { host: '10.0.0.1', port: 80 };
  assert.match(startFault(config, 'EADDRINUSE', 'listen'), /port 80 is taken.*PORT/);
  assert.match(startFault(config, 'EACCES', 'listen'), /port 80 may not be opened.*PORT/);
  assert.match(startFault(config, 'EADDRNOTAVAIL', 'listen'), /10\.0\.0\.1 is not an address.*LONGWIRE_HOST/);
  assert.equal(startFault(config, 'EWHATEVER', 'the text'), 'the text');
  assert.equal(startFault(config, null, 'the text'), 'the text');
});
