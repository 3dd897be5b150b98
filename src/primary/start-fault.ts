// Why the public port could not be opened, in words that say what to do: from the errno name that a worker reports.

import type { Config } from '../../config/config.ts';

/**
 * @param code The errno name, null when there is none.
 * @param text What the worker's own error says; used as it is where we know nothing better.
 */
export function startFault({ host, port }: Pick<Config, 'host' | 'port'>, code: string | null, text: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} is taken by another program; PORT chooses another one`;
    case 'EACCES':
      return `port ${port} may not be opened by this user (ports below 1024 need CAP_NET_BIND_SERVICE); PORT chooses another one`;
    case 'EADDRNOTAVAIL':
      return `${host} is not an address of this machine; LONGWIRE_HOST chooses another one, empty for all`;
    default:
      return text;
  }
}
