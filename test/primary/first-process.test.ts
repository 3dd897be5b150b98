// Who may leave to another primary, and who would take a container along.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { staysForContainer } from '../../src/primary/first-process.ts';

describe('a primary that is to leave to another one', () => {
  const never = (): string => assert.fail('not asked');

  it('stays where it is the first process of a container', () => {
    assert.match(staysForContainer({ pid: 1, ppid: 0 }, false, never) ?? '', /the first process of its container/);
  });

  it('stays where an init of a container has started it, which ends with it', () => {
    for (const name of ['docker-init', 'tini', 'dumb-init', 'catatonit']) {
      assert.match(staysForContainer({ pid: 7, ppid: 1 }, false, () => name) ?? '', new RegExp(`started by ${name}`));
    }
  });

  it('leaves where systemd has started it, or whoever has started it is gone', () => {
    for (const name of ['systemd', 'init', '']) {
      assert.equal(
        staysForContainer({ pid: 7, ppid: 1 }, false, () => name),
        null,
      );
    }
    assert.equal(staysForContainer({ pid: 7, ppid: 6 }, false, never), null);
  });

  it('leaves where it has taken over from one that has left', () => {
    assert.equal(staysForContainer({ pid: 7, ppid: 1 }, true, never), null);
  });
});
