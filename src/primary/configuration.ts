// What is on disk and in the environment now, read whole: at the start, and again whenever workers are replaced.
//
// A running gateway takes over what its workers run on. What the primary itself was started with it keeps until it is
// started anew, because its sockets, its workers' number and the channels between them hang on it: `FIXED_FIELDS`.

import type { Config } from '../../config/config.ts';
import { KNOBS, type KnobField } from '../../config/knobs.ts';
import { formatFaults, loadConfig } from '../../config/load.ts';
import type { TlsIdentity } from '../ipc.ts';
import { readEnvironment } from './environment.ts';
import { readNamespaces } from './namespaces-file.ts';
import { type Inheritance, SHARED_FIELDS } from './primaries.ts';
import { reusePortFault } from './reuse-port.ts';
import { readTlsIdentity } from './tls.ts';
import { readTokenKey } from './token-key.ts';

export interface Configuration {
  config: Config;
  tls: TlsIdentity | null;
}

const FIXED_FIELDS = [
  'port',
  'host',
  'tlsCert',
  'tlsKey',
  'redisUrl',
  'redisPrefix',
  'historyLimitBytes',
  'workers',
  'accept',
  'proxyProtocol',
  'maxConnections',
  'adminHost',
  'adminPort',
  'adminToken',
] as const satisfies readonly KnobField[];

/**
 * Reads the environment, `.env` and the files that they name.
 *
 * @param inService What TLS is served with; its ticket keys live on.
 * @returns all of it, or a text with all faults for the operator.
 */
export async function readConfiguration(inService: TlsIdentity | null): Promise<Configuration | { fault: string }> {
  const read = readEnvironment();
  const loaded = 'faults' in read ? read : loadConfig(read.environment);
  if ('faults' in loaded) return { fault: formatFaults(loaded.faults) };
  const fault = loaded.config.accept === 'reuseport' ? await reusePortFault() : null;
  if (fault !== null) return { fault: `${fault}\n` };
  const tls = readTlsIdentity(loaded.config, inService);
  if ('faults' in tls) return { fault: formatFaults(tls.faults) };
  const namespaces = readNamespaces(loaded.config);
  if ('faults' in namespaces) return { fault: formatFaults(namespaces.faults) };
  const token = readTokenKey(loaded.config);
  if ('fault' in token) return { fault: formatFaults([token.fault]) };
  const config = { ...loaded.config, channelOptions: namespaces.namespaces, tokenKey: token.key };
  return { config, tls: tls.identity };
}

/** The configuration of a primary that takes over from another; or a text, why connections cannot go from one to the other. */
export function inherit({ config: former, tls }: Inheritance, read: Configuration): Configuration | { fault: string } {
  const fields = SHARED_FIELDS.filter((field) => former[field] !== read.config[field]).map(
    (field) => KNOBS[field].environment,
  );
  if ((tls === null) !== (read.tls === null)) fields.push(KNOBS.tlsCert.environment);
  if (fields.length > 0) {
    return {
      fault: `${fields.join(', ')} cannot change while connections go to another primary; that needs a restart`,
    };
  }
  const key = read.config.apiKeyMade ? { apiKey: former.apiKey, apiKeyMade: former.apiKeyMade } : {};
  return { config: { ...read.config, ...key }, tls: read.tls };
}

/**
 * What a running gateway makes of what was read: the new configuration with the fixed fields as they are.
 *
 * @returns it, and the names of the knobs whose new value waits for a new primary.
 */
export function takeOver(running: Config, read: Config): { config: Config; waiting: string[] } {
  const waiting = FIXED_FIELDS.filter((field) => running[field] !== read[field]);
  const fixed = Object.fromEntries(FIXED_FIELDS.map((field) => [field, running[field]]));
  const key = read.apiKeyMade ? { apiKey: running.apiKey, apiKeyMade: running.apiKeyMade } : {};
  return { config: { ...read, ...fixed, ...key }, waiting: waiting.map((field) => KNOBS[field].environment) };
}
