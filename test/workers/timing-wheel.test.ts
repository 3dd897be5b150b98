// The timing wheel on a fake clock: never early, at most a tick late, whatever callbacks do to it and to each other.
//
// The last test holds it against a sorted list, with random deadlines, cancels, and a loop that is blocked now and then.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { TICK_MS, type Timed, TimingWheel } from '../../workers/timing-wheel.ts';
import { Random } from './http/random.ts';

/** One turn of the wheel; a deadline beyond it shares its slot with nearer ones. */
const TURN_MS = 512 * TICK_MS;
/** Where the clock stands when the wheel is made: monotonic clocks begin anywhere. */
const START_MS = 1_234.5;

let nowMs = START_MS;
let wheel: TimingWheel;

beforeEach(() => {
  nowMs = START_MS;
  wheel = new TimingWheel(() => nowMs);
});

class Alarm implements Timed {
  timerPrevious: Timed | null = null;
  timerNext: Timed | null = null;
  timerTick = 0;
  readonly firedAtMs: number[] = [];
  readonly onFire: () => void;

  constructor(onFire: () => void = () => {}) {
    this.onFire = onFire;
  }

  onTimer(): void {
    this.firedAtMs.push(nowMs);
    this.onFire();
  }
}

function alarm(delayMs: number, onFire?: () => void): Alarm {
  const made = new Alarm(onFire);
  wheel.schedule(made, delayMs);
  return made;
}

/** Lets time pass as the gateway's interval does: the wheel is called each tick. */
function pass(ms: number, stepMs = TICK_MS): void {
  for (const end = nowMs + ms; nowMs < end; ) {
    nowMs = Math.min(end, nowMs + stepMs);
    wheel.advance();
  }
}

function all(): Timed[] {
  const found: Timed[] = [];
  wheel.forEach((timed) => {
    found.push(timed);
  });
  return found;
}

describe('a deadline', () => {
  it('is never early and at most a tick late, wherever it falls', () => {
    for (const delayMs of [0, 0.1, 1, 99, 100, 100.1, 101, 250, 1_000, 9_999, 25_000, TURN_MS - 1, TURN_MS]) {
      for (const offsetMs of [0, 0.5, 50, 99.9]) {
        pass(offsetMs, 1);
        const scheduledAtMs = nowMs;
        const one = alarm(delayMs);
        pass(delayMs + 2 * TICK_MS, 1);
        assert.equal(one.firedAtMs.length, 1, `${delayMs} ms: fired once`);
        const lateMs = (one.firedAtMs[0] as number) - scheduledAtMs - delayMs;
        assert.ok(lateMs >= 0, `${delayMs} ms: ${-lateMs} ms early`);
        assert.ok(lateMs <= TICK_MS + 1, `${delayMs} ms: ${lateMs} ms late`);
      }
    }
  });

  it('fires once and is then forgotten', () => {
    const one = alarm(100);
    pass(3 * TURN_MS);
    assert.equal(one.firedAtMs.length, 1);
    assert.deepEqual([one.timerPrevious, one.timerNext], [null, null]);
    assert.deepEqual(all(), []);
  });

  it('in the past is the next tick', () => {
    const one = alarm(-5_000);
    assert.equal(one.firedAtMs.length, 0);
    pass(TICK_MS);
    assert.equal(one.firedAtMs.length, 1);
  });

  it('beyond one turn of the wheel waits for its own turn', () => {
    const far = [1.5, 2, 3.25, 10].map((turns) => ({ turns, one: alarm(turns * TURN_MS) }));
    const near = alarm(TURN_MS / 2);
    pass(TURN_MS + TICK_MS);
    assert.equal(near.firedAtMs.length, 1);
    for (const { one } of far) assert.equal(one.firedAtMs.length, 0);
    pass(10 * TURN_MS);
    for (const { turns, one } of far) {
      const lateMs = (one.firedAtMs[0] as number) - START_MS - turns * TURN_MS;
      assert.ok(lateMs >= 0 && lateMs <= TICK_MS, `${turns} turns: ${lateMs} ms late`);
      assert.equal(one.firedAtMs.length, 1);
    }
  });

  it('replaces an earlier one of the same, nearer or farther', () => {
    const one = alarm(1_000);
    wheel.schedule(one, 5_000);
    pass(4_900);
    assert.equal(one.firedAtMs.length, 0);
    wheel.schedule(one, 200);
    pass(300);
    assert.equal(one.firedAtMs.length, 1);
    pass(10_000);
    assert.equal(one.firedAtMs.length, 1);
  });

  it('that is cancelled does not fire; cancelling twice, or one that was never set, is nothing', () => {
    const [one, two] = [alarm(1_000), alarm(1_000)];
    wheel.cancel(one);
    wheel.cancel(one);
    wheel.cancel(new Alarm());
    pass(2_000);
    assert.deepEqual([one.firedAtMs.length, two.firedAtMs.length], [0, 1]);
    wheel.cancel(two);
    wheel.schedule(one, 100);
    pass(200);
    assert.equal(one.firedAtMs.length, 1);
  });
});

describe('callbacks', () => {
  it('may set the same one again, which is how a heartbeat beats', () => {
    const beat: Alarm = alarm(1_000, () => wheel.schedule(beat, 1_000));
    pass(10_900);
    assert.ok(beat.firedAtMs.length >= 9 && beat.firedAtMs.length <= 10, `${beat.firedAtMs.length} beats`);
    assert.deepEqual(all(), [beat]);
  });

  it('that ask for no delay get the next tick, not an endless one', () => {
    const hasty: Alarm = alarm(0, () => wheel.schedule(hasty, 0));
    pass(1_000);
    assert.equal(hasty.firedAtMs.length, 10);
  });

  it('may cancel others of the same tick, before and behind them', () => {
    const alarms: Alarm[] = [];
    for (let i = 0; i < 6; i++) {
      alarms.push(
        alarm(500, () => {
          for (const other of [i - 1, i + 1]) if (alarms[other] !== undefined) wheel.cancel(alarms[other]);
        }),
      );
    }
    pass(1_000);
    assert.deepEqual(
      alarms.map(({ firedAtMs }) => firedAtMs.length),
      [1, 0, 1, 0, 1, 0],
    );
    assert.deepEqual(all(), []);
  });

  it('may put off others of the same tick', () => {
    const other = new Alarm();
    alarm(500, () => wheel.schedule(other, 500));
    wheel.schedule(other, 500);
    pass(600);
    assert.equal(other.firedAtMs.length, 0);
    pass(600);
    assert.equal(other.firedAtMs.length, 1);
  });

  it('may set new ones, for the same slot a turn later too', () => {
    const fresh: Alarm[] = [];
    alarm(500, () => {
      for (let i = 0; i < 3; i++) fresh.push(alarm(i * TURN_MS));
    });
    pass(700);
    assert.deepEqual(
      fresh.map(({ firedAtMs }) => firedAtMs.length),
      [1, 0, 0],
    );
    pass(2 * TURN_MS);
    for (const { firedAtMs } of fresh) assert.equal(firedAtMs.length, 1);
  });
});

describe('a loop that was blocked', () => {
  it('catches up in the order of the deadlines', () => {
    const order: number[] = [];
    for (const delayMs of [700, 300, 20_000, 500, 2 * TURN_MS, 5 * TURN_MS]) alarm(delayMs, () => order.push(delayMs));
    nowMs += 3 * TURN_MS;
    wheel.advance();
    assert.deepEqual(order, [300, 500, 700, 20_000, 2 * TURN_MS]);
    nowMs += 3 * TURN_MS;
    wheel.advance();
    assert.equal(order.at(-1), 5 * TURN_MS);
  });

  it('counts what is set while it catches up from now, not from when it was due', () => {
    const beat: Alarm = alarm(1_000, () => wheel.schedule(beat, 1_000));
    nowMs += 60_000;
    wheel.advance();
    assert.equal(beat.firedAtMs.length, 1, 'no burst of beats');
    pass(1_100);
    assert.equal(beat.firedAtMs.length, 2);
  });

  it('is not early for what is set before the wheel has caught up', () => {
    nowMs += 10_000;
    const one = alarm(1_000);
    wheel.advance();
    assert.equal(one.firedAtMs.length, 0);
    pass(900, 1);
    assert.equal(one.firedAtMs.length, 0);
    pass(200, 1);
    assert.equal(one.firedAtMs.length, 1);
  });
});

it('forEach visits each that has a deadline, once', () => {
  const set = [0, 100, 100, 5_000, 3 * TURN_MS].map((delayMs) => alarm(delayMs));
  wheel.cancel(set[1] as Alarm);
  const expected = new Set<Timed>(set.filter((_, i) => i !== 1));
  const found = all();
  assert.equal(found.length, expected.size);
  assert.deepEqual(new Set(found), expected);
});

describe('the wheel beside a sorted list', () => {
  for (const seed of [1, 2, 3, 4]) {
    it(`seed ${seed}`, () => {
      const random = new Random(seed);
      const alarms = Array.from({ length: 200 }, () => new Alarm());
      const dueAtMs = new Map<Alarm, number>();
      let fired = 0;
      for (const [i, one] of alarms.entries()) {
        one.onTimer = () => {
          const due = dueAtMs.get(one);
          assert.ok(due !== undefined, `${i} was not to fire`);
          assert.ok(nowMs >= due, `${i} is ${due - nowMs} ms early`);
          dueAtMs.delete(one);
          fired++;
          if (random.once(3)) set(random.pick(alarms));
          if (random.once(5)) unset(random.pick(alarms));
        };
      }
      function set(one: Alarm): void {
        const delayMs = random.below(random.pick([50, 1_000, 30_000, 3 * TURN_MS])) + random.below(10) / 10;
        dueAtMs.set(one, nowMs + delayMs);
        wheel.schedule(one, delayMs);
      }
      function unset(one: Alarm): void {
        dueAtMs.delete(one);
        wheel.cancel(one);
      }

      for (let step = 0; step < 20_000; step++) {
        if (random.once(2)) set(random.pick(alarms));
        else if (random.once(3)) unset(random.pick(alarms));
        nowMs += random.once(200) ? random.below(2 * TURN_MS) : random.below(3 * TICK_MS) / 2;
        wheel.advance();
        // What was due a tick ago has fired; what a callback sets in this call is due later than now.
        for (const due of dueAtMs.values()) assert.ok(due > nowMs - TICK_MS, `${nowMs - due} ms late`);
        assert.equal(all().length, dueAtMs.size);
      }
      assert.ok(fired > 5_000, 'the run was worth it');
    });
  }
});
