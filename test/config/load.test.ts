// Every knob: its default, values that it takes, values that it refuses. The cases are keyed by field, so that a knob
// without cases does not compile.

import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { describe, it } from 'node:test';
import type { Config } from '../../config/config.ts';
import { KNOB_FIELDS, KNOBS, type KnobField } from '../../config/knobs.ts';
import { type Environment, type Fault, formatFaults, loadConfig } from '../../config/load.ts';

interface Cases<Value> {
  /** What the field is when nothing is set; null where that is made anew each time. */
  initial: Value | null;
  good: readonly (readonly [written: string, read: Value])[];
  bad: readonly (readonly [written: string, problem: RegExp])[];
}

const KEY = 'k'.repeat(16);
const NOT_WHOLE = [' 1', '1 ', '1.5', '-1', '+1', '1e3', '0x10', '１', 'NaN', 'Infinity', '9'.repeat(16)] as const;
const NOT_A_NUMBER = [' 1', '.5', '1.', '-1', '+1', '1e3', '0x10', '1,5', 'NaN', 'Infinity', '9'.repeat(16)] as const;

const CASES: { readonly [Field in KnobField]: Cases<Config[Field]> } = {
  port: whole(3000, 0, 65_535),
  host: {
    initial: '',
    good: [
      ['0.0.0.0', '0.0.0.0'],
      ['::1', '::1'],
      ['localhost', 'localhost'],
      ['push-1.example', 'push-1.example'],
    ],
    bad: hostFaults(),
  },
  tlsCert: paths(),
  tlsKey: paths(),
  namespaces: paths(),
  trustedProxies: {
    initial: [],
    good: [
      ['127.0.0.1', ['127.0.0.1']],
      ['10.0.0.0/8, 2001:db8::/32,::1', ['10.0.0.0/8', '2001:db8::/32', '::1']],
      ['0.0.0.0/0', ['0.0.0.0/0']],
    ],
    bad: [
      ['localhost', /must be addresses/],
      ['10.0.0.1/8', /no bits set beyond/],
      ['10.0.0.0/33', /must be addresses/],
      ['127.0.0.1,', /must be addresses/],
      ['127.0.0.1 ::1', /must be addresses/],
      ['[::1]', /must be addresses/],
      ['127.0.0.1:80', /must be addresses/],
      [Array.from({ length: 101 }, (_, i) => `10.0.0.${i}`).join(','), /at most 100/],
    ],
  },
  forwardedHeader: names('x-forwarded-for', ['x-forwarded-for', 'forwarded']),
  proxyProtocol: names('off', ['off', 'on']),
  redisUrl: {
    initial: '',
    good: [
      ['redis://localhost', 'redis://localhost'],
      ['redis://localhost/', 'redis://localhost/'],
      ['redis://127.0.0.1:6380/3', 'redis://127.0.0.1:6380/3'],
      ['redis://[::1]:6379', 'redis://[::1]:6379'],
      ['rediss://user:p%40ss@redis.example:6380/15', 'rediss://user:p%40ss@redis.example:6380/15'],
      ['redis://:secret@redis.example?family=6', 'redis://:secret@redis.example?family=6'],
    ],
    bad: [
      ['localhost:6379', /must begin with redis/],
      ['http://localhost', /must begin with redis/],
      ['REDIS://localhost', /must begin with redis/],
      ['redis://', /must be a valid URL|must name a host/],
      ['redis:///1', /must be a valid URL|must name a host/],
      ['redis://host:port', /must be a valid URL/],
      ['redis://host:70000', /must be a valid URL/],
      ['redis://:p%zz@host', /percent-encoded/],
      ['redis://host/one', /number of a database/],
      ['redis://host/1/2', /number of a database/],
      ['redis://host/-1', /number of a database/],
      ['redis://host?keyPrefix=x', /no query/],
      ['redis://host#x', /no fragment/],
    ],
  },
  redisPrefix: {
    initial: 'push:',
    good: [
      ['p', 'p'],
      ['grüße/', 'grüße/'],
      ['x'.repeat(64), 'x'.repeat(64)],
    ],
    bad: [
      ['push*', /none of/],
      ['push?', /none of/],
      ['[ab]', /none of/],
      ['a\\b', /none of/],
      ['a b', /no spaces/],
      ['a\n', /no spaces/],
      ['\0', /control/],
      ['x'.repeat(65), /longer than 64 bytes/],
      ['ü'.repeat(33), /longer than 64 bytes/],
    ],
  },
  workers: {
    initial: availableParallelism(),
    good: [
      ['auto', availableParallelism()],
      ['1', 1],
      ['1024', 1024],
    ],
    bad: [...autoFaults(), ['1025', /above 1024/]],
  },
  accept: names('shared', ['shared', 'reuseport', 'sticky']),
  wire: names('auto', ['auto', 'handle', 'socket']),
  maxConnections: {
    initial: 0,
    good: [
      ['auto', 0],
      ['245000', 245_000],
    ],
    bad: [...autoFaults(), ['100000001', /above 100000000/]],
  },
  maxConnectionsPerAddress: whole(0, 0, 100_000_000),
  adminHost: {
    initial: '127.0.0.1',
    good: [
      ['0.0.0.0', '0.0.0.0'],
      ['::', '::'],
      ['admin.internal', 'admin.internal'],
    ],
    bad: hostFaults(),
  },
  adminPort: whole(3001, 0, 65_535),
  adminToken: secrets('', 16),
  apiKey: secrets(null, 16),
  tokenHmacSecret: secrets('', 32),
  tokenPublicKey: paths(),
  tokenRequired: names('auto', ['auto', 'off', 'on']),
  tokenAudience: {
    initial: '',
    good: ['push', 'https://push.example/', 'Grüße', 'x'.repeat(255)].map((text) => [text, text]),
    bad: [
      ['a\nb', /control characters/],
      ['x'.repeat(256), /longer than 255 bytes/],
      ['ü'.repeat(128), /longer than 255 bytes/],
    ],
  },
  apiErrors: names('status', ['status', 'body']),
  corsOrigins: {
    initial: [],
    good: [
      ['*', ['*']],
      ['https://app.example', ['https://app.example']],
      ['https://app.example, http://localhost:8080', ['https://app.example', 'http://localhost:8080']],
      ['capacitor://localhost', ['capacitor://localhost']],
    ],
    bad: [
      ['*,https://app.example', /alone/],
      ['https://app.example/', /as browsers send them/],
      ['https://app.example/path', /as browsers send them/],
      ['https://App.example', /as browsers send them/],
      ['https://app.example:443', /as browsers send them/],
      ['https://*.example', /as browsers send them/],
      ['https://user@app.example', /as browsers send them/],
      ['app.example', /as browsers send them/],
      ['null', /as browsers send them/],
      ['https://a.example,', /as browsers send them/],
      [Array.from({ length: 101 }, (_, i) => `https://a${i}.example`).join(','), /at most 100/],
    ],
  },
  heartbeatSeconds: decimal(25, 0.1, 3600),
  headDeadlineSeconds: decimal(10, 0.1, 3600),
  keepAliveSeconds: decimal(60, 0.1, 3600),
  stallSeconds: decimal(30, 0.1, 3600),
  drainSeconds: decimal(10, 0, 3600),
  drainDelaySeconds: decimal(0, 0, 3600),
  hangSeconds: decimal(15, 0, 3600),
  workerMemoryLimitBytes: whole(0, 0, 1_099_511_627_776),
  rebalancePercent: whole(0, 0, 1000),
  retryMilliseconds: whole(2000, 1, 3_600_000),
  pollWaitSeconds: decimal(25, 0.1, 3600),
  pollExpirySeconds: decimal(60, 0.1, 3600),
  pollSessionLimit: whole(100_000, 1, 10_000_000),
  mailboxLimitBytes: whole(1_048_576, 1024, 1_073_741_824),
  mailboxTotalLimitBytes: whole(268_435_456, 1_048_576, 1_099_511_627_776),
  outboxLimitBytes: whole(1_048_576, 1024, 1_073_741_824),
  payloadLimitBytes: whole(1_048_576, 1, 67_108_864),
  presenceSeconds: whole(60, 1, 3600),
  historyPositionSeconds: whole(86_400, 1, 2_592_000),
  historyLimitBytes: whole(67_108_864, 1_048_576, 68_719_476_736),
  bodyLimitBytes: whole(2_097_152, 1024, 134_217_728),
  headLimitBytes: whole(16_384, 256, 1_048_576),
  targetLimitBytes: whole(8192, 64, 1_048_576),
  headerLimit: whole(100, 1, 1000),
  channelLimit: whole(64, 1, 1024),
  logLevel: names('info', ['debug', 'info', 'warn', 'error']),
};

/** What must be set beside a field for its extremes to pass the rules between fields. */
const BESIDE: Partial<Record<KnobField, Environment>> = {
  tlsCert: { LONGWIRE_TLS_KEY: 'key.pem' },
  tlsKey: { LONGWIRE_TLS_CERT: 'cert.pem' },
  proxyProtocol: { LONGWIRE_TRUSTED_PROXIES: '127.0.0.1' },
  workers: { LONGWIRE_MAX_CONNECTIONS: 'auto' },
  tokenRequired: { LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' },
  tokenAudience: { LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' },
  maxConnections: { LONGWIRE_WORKERS: '1' },
  mailboxLimitBytes: { LONGWIRE_MAILBOX_TOTAL_LIMIT_BYTES: '1099511627776' },
  outboxLimitBytes: { LONGWIRE_PAYLOAD_LIMIT_BYTES: '1' },
  payloadLimitBytes: { LONGWIRE_OUTBOX_LIMIT_BYTES: '1073741824' },
  headLimitBytes: { LONGWIRE_TARGET_LIMIT_BYTES: '64' },
  targetLimitBytes: { LONGWIRE_HEAD_LIMIT_BYTES: '1048576' },
};

describe('each knob', () => {
  for (const field of KNOB_FIELDS) {
    const { environment: name, default: initial } = KNOBS[field];
    const cases: Cases<Config[KnobField]> = CASES[field];

    it(`${name}: has its default when unset, empty, or set to what the table says`, () => {
      for (const environment of [{}, { [name]: undefined }, { [name]: '' }, { [name]: initial }]) {
        const config = loaded(environment);
        if (cases.initial !== null) assert.deepEqual(config[field], cases.initial);
      }
    });

    it(`${name}: takes what it allows`, () => {
      for (const [written, read] of cases.good) {
        assert.deepEqual(loaded({ ...BESIDE[field], [name]: written })[field], read, written);
      }
    });

    it(`${name}: refuses everything else, with name, value, what is allowed and the default`, () => {
      for (const [written, problem] of cases.bad) {
        const [fault, ...more] = faults({ ...BESIDE[field], [name]: written });
        assert.ok(fault, `no fault for ${JSON.stringify(written)}`);
        assert.deepEqual(more, [], written);
        assert.equal(fault.name, name);
        assert.equal(fault.value, KNOBS[field].secret ? null : written);
        assert.match(fault.problem, problem, written);
        assert.match(fault.problem, /^must /);
        assert.ok(fault.allowed);
        assert.equal(fault.default, initial);
      }
    });
  }

  it('is in the table once', () => {
    const names = KNOB_FIELDS.map((field) => KNOBS[field].environment);
    assert.equal(new Set(names).size, names.length);
  });

  it('has its unit last in its name, in the environment and in the code', () => {
    for (const field of KNOB_FIELDS) {
      const { unit, environment } = KNOBS[field];
      if (unit === null) assert.doesNotMatch(environment, /_(SECONDS|MILLISECONDS|BYTES)$/);
      else {
        assert.ok(environment.endsWith(`_${unit.toUpperCase()}`), environment);
        assert.ok(field.toLowerCase().endsWith(unit), field);
      }
    }
  });

  it('is called in the environment as in the code, apart from the names that everybody uses', () => {
    for (const field of KNOB_FIELDS) {
      const { environment } = KNOBS[field];
      if (environment === 'PORT' || environment === 'REDIS_URL') continue;
      assert.equal(environment.replace('LONGWIRE_', '').replaceAll('_', '').toLowerCase(), field.toLowerCase());
    }
  });
});

describe('the API key', () => {
  it('is made when none is given, anew each time and as strong as one that is', () => {
    const first = loaded({});
    const second = loaded({ LONGWIRE_API_KEY: '' });
    assert.equal(first.apiKeyMade, true);
    assert.match(first.apiKey, /^[\w-]{32}$/);
    assert.notEqual(first.apiKey, second.apiKey);
    assert.equal(loaded({ LONGWIRE_API_KEY: first.apiKey }).apiKey, first.apiKey);
  });

  it('is taken as it is when given', () => {
    assert.equal(loaded({ LONGWIRE_API_KEY: KEY }).apiKeyMade, false);
  });
});

describe('rules between knobs', () => {
  it('a request target fits into a head', () => {
    const [fault] = faults({ LONGWIRE_HEAD_LIMIT_BYTES: '4096' });
    assert.equal(fault?.name, 'LONGWIRE_TARGET_LIMIT_BYTES');
    assert.equal(fault?.value, null);
    assert.match(fault?.problem ?? '', /LONGWIRE_HEAD_LIMIT_BYTES/);
    loaded({ LONGWIRE_HEAD_LIMIT_BYTES: '4096', LONGWIRE_TARGET_LIMIT_BYTES: '4096' });
  });

  it('a payload fits into an outbox', () => {
    const [fault] = faults({ LONGWIRE_OUTBOX_LIMIT_BYTES: '65536' });
    assert.equal(fault?.name, 'LONGWIRE_PAYLOAD_LIMIT_BYTES');
    loaded({ LONGWIRE_OUTBOX_LIMIT_BYTES: '65536', LONGWIRE_PAYLOAD_LIMIT_BYTES: '65536' });
  });

  it('a mailbox fits into all of them', () => {
    const [fault] = faults({ LONGWIRE_MAILBOX_LIMIT_BYTES: '536870912' });
    assert.equal(fault?.name, 'LONGWIRE_MAILBOX_TOTAL_LIMIT_BYTES');
    assert.equal(fault?.problem, 'must not be below LONGWIRE_MAILBOX_LIMIT_BYTES');
    loaded({ LONGWIRE_MAILBOX_LIMIT_BYTES: '536870912', LONGWIRE_MAILBOX_TOTAL_LIMIT_BYTES: '536870912' });
  });

  it('each worker may hold at least one connection', () => {
    const [fault] = faults({ LONGWIRE_WORKERS: '4', LONGWIRE_MAX_CONNECTIONS: '3' });
    assert.equal(fault?.name, 'LONGWIRE_MAX_CONNECTIONS');
    assert.equal(fault?.value, '3');
    loaded({ LONGWIRE_WORKERS: '4', LONGWIRE_MAX_CONNECTIONS: '4' });
  });

  it('a certificate and its key come together', () => {
    for (const [set, missing] of [
      ['LONGWIRE_TLS_CERT', 'LONGWIRE_TLS_KEY'],
      ['LONGWIRE_TLS_KEY', 'LONGWIRE_TLS_CERT'],
    ] as const) {
      const [fault, ...more] = faults({ [set]: 'some.pem' });
      assert.deepEqual(more, []);
      assert.equal(fault?.name, missing);
      assert.equal(fault?.value, null);
      assert.equal(fault?.problem, `must be set when ${set} is`);
    }
    loaded({ LONGWIRE_TLS_CERT: 'some.pem', LONGWIRE_TLS_KEY: 'some.pem' });
  });

  it('tokens have one kind of key', () => {
    const secret = { LONGWIRE_TOKEN_HMAC_SECRET: 's'.repeat(32) };
    const [fault, ...more] = faults({ ...secret, LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' });
    assert.deepEqual([fault?.name, fault?.value, more], ['LONGWIRE_TOKEN_PUBLIC_KEY', 'key.pem', []]);
    assert.equal(fault?.problem, 'must be empty where LONGWIRE_TOKEN_HMAC_SECRET is set: tokens have one kind of key');
    loaded(secret);
    loaded({ LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' });
  });

  it('tokens that are asked for have a key: one that was lost on its way lets nobody in', () => {
    for (const asked of [{ LONGWIRE_TOKEN_REQUIRED: 'on' }, { LONGWIRE_TOKEN_AUDIENCE: 'push' }]) {
      const [fault, ...more] = faults({ ...asked, LONGWIRE_TOKEN_HMAC_SECRET: '' });
      assert.deepEqual([fault?.name, more], [Object.keys(asked)[0], []]);
      assert.match(fault?.problem ?? '', /without a key: LONGWIRE_TOKEN_HMAC_SECRET or LONGWIRE_TOKEN_PUBLIC_KEY$/);
      loaded({ ...asked, LONGWIRE_TOKEN_HMAC_SECRET: 's'.repeat(32) });
      loaded({ ...asked, LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' });
    }
  });

  it('bare handles are not asked for with TLS, which they do not know', () => {
    const tls = { LONGWIRE_TLS_CERT: 'cert.pem', LONGWIRE_TLS_KEY: 'key.pem' };
    const [fault] = faults({ ...tls, LONGWIRE_WIRE: 'handle' });
    assert.equal(fault?.name, 'LONGWIRE_WIRE');
    assert.equal(fault?.value, 'handle');
    for (const wire of ['auto', 'socket']) loaded({ ...tls, LONGWIRE_WIRE: wire });
  });

  it('sticky reads requests itself, as they come, from sockets', () => {
    const sticky = { LONGWIRE_ACCEPT: 'sticky' };
    const others: [beside: Environment, named: string][] = [
      [{ LONGWIRE_TLS_CERT: 'cert.pem', LONGWIRE_TLS_KEY: 'key.pem' }, 'LONGWIRE_ACCEPT'],
      [{ LONGWIRE_PROXY_PROTOCOL: 'on', LONGWIRE_TRUSTED_PROXIES: '::1' }, 'LONGWIRE_ACCEPT'],
      [{ LONGWIRE_WIRE: 'handle' }, 'LONGWIRE_WIRE'],
    ];
    for (const [beside, named] of others) {
      const [fault, ...more] = faults({ ...sticky, ...beside });
      assert.deepEqual([fault?.name, more], [named, []]);
      assert.match(fault?.problem ?? '', /sticky/);
      loaded(beside);
    }
    loaded({ ...sticky, LONGWIRE_TRUSTED_PROXIES: '::1' });
  });

  it('PROXY headers are taken from somebody', () => {
    const [fault, ...more] = faults({ LONGWIRE_PROXY_PROTOCOL: 'on' });
    assert.deepEqual(more, []);
    assert.equal(fault?.name, 'LONGWIRE_PROXY_PROTOCOL');
    assert.match(fault?.problem ?? '', /LONGWIRE_TRUSTED_PROXIES/);
    loaded({ LONGWIRE_TRUSTED_PROXIES: '127.0.0.1' });
  });

  it('the two ports differ wherever their addresses meet', () => {
    assert.equal(faults({ PORT: '3001' })[0]?.name, 'LONGWIRE_ADMIN_PORT');
    faults({ PORT: '3001', LONGWIRE_HOST: '10.0.0.1', LONGWIRE_ADMIN_HOST: '0.0.0.0' });
    faults({ PORT: '3001', LONGWIRE_HOST: '127.0.0.1' });
    loaded({ PORT: '3001', LONGWIRE_HOST: '10.0.0.1' });
    loaded({ PORT: '0', LONGWIRE_ADMIN_PORT: '0' });
  });

  it('are not applied to values that are themselves at fault', () => {
    const all = faults({ LONGWIRE_TARGET_LIMIT_BYTES: '8192', LONGWIRE_HEAD_LIMIT_BYTES: 'small' });
    assert.deepEqual(
      all.map((fault) => fault.name),
      ['LONGWIRE_HEAD_LIMIT_BYTES'],
    );
  });
});

describe('names', () => {
  it('that begin with LONGWIRE_ and are not in the table are faults, whatever their case or value', () => {
    const all = faults({ LONGWIRE_FROBNICATE: '1', longwire_zzz: '', LONGWIRE_: 'x' });
    assert.deepEqual(
      all.map((fault) => fault.name),
      ['LONGWIRE_', 'LONGWIRE_FROBNICATE', 'longwire_zzz'],
    );
    for (const fault of all) assert.match(fault.problem, /is not a knob$/);
  });

  it('that are close to one in the table are told which', () => {
    const meant: Record<string, string> = {
      LONGWIRE_HEARBEAT_SECONDS: 'LONGWIRE_HEARTBEAT_SECONDS',
      LONGWIRE_HEARTBEAT: 'LONGWIRE_HEARTBEAT_SECONDS',
      LONGWIRE_WROKERS: 'LONGWIRE_WORKERS',
      LONGWIRE_APIKEY: 'LONGWIRE_API_KEY',
      LONGWIRE_PORT: 'PORT',
      LONGWIRE_REDIS_URL: 'REDIS_URL',
      longwire_log_level: 'LONGWIRE_LOG_LEVEL',
    };
    for (const [name, known] of Object.entries(meant)) {
      assert.equal(faults({ [name]: '1' })[0]?.problem, `is not a knob; did you mean ${known}?`);
    }
  });

  it('of others are nobody’s business', () => {
    loaded({ HOME: '/root', LONG: '1', NODE_OPTIONS: '--x', MY_LONGWIRE_X: '1' });
  });
});

describe('faults', () => {
  it('are reported all at once, in the order of the table, unknown names last', () => {
    const environment = Object.fromEntries(
      KNOB_FIELDS.filter((field) => !KNOBS[field].secret).map((field) => [KNOBS[field].environment, 'not allowed *\0']),
    );
    const all = faults({
      LONGWIRE_UNKNOWN: '1',
      ...environment,
      REDIS_URL: 'x',
      LONGWIRE_API_KEY: 'x',
      LONGWIRE_ADMIN_TOKEN: 'x',
      LONGWIRE_TOKEN_HMAC_SECRET: 'x',
    });
    assert.deepEqual(
      all.map((fault) => fault.name),
      [...KNOB_FIELDS.map((field) => KNOBS[field].environment), 'LONGWIRE_UNKNOWN'],
    );
  });

  it('never show a secret, nor the value of an unknown name, which may be a secret mistyped', () => {
    const secret = 'hunter2hunter2';
    const environments: Environment[] = [
      { LONGWIRE_API_KEY: `${secret} ` },
      { LONGWIRE_API_KEY: secret },
      { LONGWIRE_ADMIN_TOKEN: secret },
      { LONGWIRE_TOKEN_HMAC_SECRET: secret },
      { LONGWIRE_TOKEN_HMAC_SECRET: secret.repeat(4), LONGWIRE_TOKEN_PUBLIC_KEY: 'key.pem' },
      { LONGWIRE_APIKEY: secret },
      { LONGWIRE_REDIS_PASSWORD: secret },
      { REDIS_URL: `redis://user:${secret}@host:port` },
      { REDIS_URL: `redis://user:${secret}@host/one` },
      { REDIS_URL: `http://user:${secret}@host` },
      { REDIS_URL: `user:${secret}@host` },
      { REDIS_URL: `redis://${secret}?x@host` },
      { REDIS_URL: `redis://:${secret}%zz@host` },
      { REDIS_URL: `redis://host#${secret}` },
    ];
    for (const environment of environments) {
      const all = faults(environment);
      assert.ok(!formatFaults(all).includes(secret), JSON.stringify(environment));
      assert.ok(!JSON.stringify(all).includes(secret), JSON.stringify(environment));
    }
  });

  it('read well', () => {
    const text = formatFaults(faults({ PORT: 'abc', LONGWIRE_HEARTBEAT_SECONDS: '0', LONGWIRE_PROT: '1' }));
    assert.equal(
      text,
      [
        '3 faults in the configuration:',
        '  PORT="abc" must be a whole number. Allowed: 0 to 65535. Default: 3000',
        '  LONGWIRE_HEARTBEAT_SECONDS="0" must not be below 0.1. Allowed: 0.1 to 3600 seconds, fractions too. Default: 25',
        '  LONGWIRE_PROT is not a knob; did you mean PORT?',
        '',
      ].join('\n'),
    );
    assert.match(formatFaults(faults({ PORT: 'abc' })), /^1 fault in the configuration:\n/);
  });

  it('stay on one line each and of bounded length, whatever was given', () => {
    const text = formatFaults(faults({ PORT: `a\nb\u001b[2J${'x'.repeat(100_000)}` }));
    assert.equal(text.split('\n').length, 3);
    assert.ok(text.length < 400);
    assert.ok(!text.includes('\u001b'));
  });
});

function loaded(environment: Environment): Config {
  const outcome = loadConfig(environment);
  if ('config' in outcome) return outcome.config;
  assert.fail(formatFaults(outcome.faults));
}

function faults(environment: Environment): Fault[] {
  const outcome = loadConfig(environment);
  if ('faults' in outcome) return outcome.faults;
  assert.fail(`no faults in ${JSON.stringify(environment)}`);
}

function whole(initial: number, min: number, max: number): Cases<number> {
  return {
    initial,
    good: [
      [String(min), min],
      [String(max), max],
    ],
    bad: [
      ...NOT_WHOLE.map((text) => [text, /must be a whole number/] as const),
      [String(max + 1), new RegExp(`above ${max}`)],
      ...(min > 0 ? [[String(min - 1), new RegExp(`below ${min}`)] as const] : []),
    ],
  };
}

function decimal(initial: number, min: number, max: number): Cases<number> {
  return {
    initial,
    good: [
      [String(min), min],
      ['0.25', 0.25],
      [String(max), max],
    ],
    bad: [
      ...NOT_A_NUMBER.map((text) => [text, /must be a number/] as const),
      [`${max}.001`, new RegExp(`above ${max}`)],
      ...(min > 0 ? [['0.09', new RegExp(`below ${min}`)] as const] : []),
    ],
  };
}

function names<Name extends string>(initial: Name, all: readonly Name[]): Cases<Name> {
  return {
    initial,
    good: all.map((name) => [name, name] as const),
    bad: ['x', initial.toUpperCase(), ` ${initial}`].map((text) => [text, /must be .+ or /] as const),
  };
}

function secrets(initial: string | null, least: number): Cases<string> {
  const shortest = 'k'.repeat(least);
  return {
    initial,
    good: [
      [shortest, shortest],
      ['!~'.repeat(256), '!~'.repeat(256)],
    ],
    bad: [
      ['k'.repeat(least - 1), new RegExp(`at least ${least}`)],
      ['k'.repeat(513), /at most 512/],
      [`${shortest} `, /without spaces/],
      [`${shortest}\n`, /visible ASCII/],
      [`${shortest}ü`, /visible ASCII/],
    ],
  };
}

function paths(): Cases<string> {
  return {
    initial: '',
    good: ['/etc/longwire/tls.pem', 'tls.pem', '../keys/ü b.pem', `/${'x'.repeat(4094)}`].map((path) => [path, path]),
    bad: [
      ['a\0b', /control characters/],
      ['a\nb', /control characters/],
      ['x'.repeat(4096), /longer than 4095 bytes/],
      ['ü'.repeat(2048), /longer than 4095 bytes/],
    ],
  };
}

function hostFaults(): (readonly [string, RegExp])[] {
  const texts = [
    '[::1]',
    'localhost:3000',
    'http://localhost',
    'a b',
    '-a',
    'a..b',
    '.',
    '*',
    `${'a'.repeat(64)}.example`,
  ];
  return texts.map((text) => [text, /must be an address or a host name/] as const);
}

function autoFaults(): (readonly [string, RegExp])[] {
  const texts = [...NOT_WHOLE, 'AUTO', 'many'];
  return [...texts.map((text) => [text, /must be auto or a whole number/] as const), ['0', /below 1/]];
}
