import {
  type HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  retryable,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../environment.ts';
import { type Bus, BusError, connectBus, deadlineIn, sessionBusAddress } from './connection.ts';

/* The common part of the keyrings on the session bus: the connection, and the meaning of errors. */

/** The description of such a keyring for messages. */
export interface BusKeyring {
  /** The keyring's name, as the subject of a sentence. */
  readonly name: string;
  readonly busName: string;
  /** What to do if the keyring is absent. */
  readonly whenAbsent: string;
  /** The daemons to check if the keyring does not answer. */
  readonly daemons: string;
}

/**
 * Connects to the session bus.
 *
 * @throws KeyringAbsentError when no bus runs, or the bus is another user's
 * @throws KeyringBrokenError when the bus does not answer in time
 */
export async function sessionBus(
  environment: Environment,
  keyring: BusKeyring,
  timeoutMs: number,
): Promise<Bus> {
  const address = sessionBusAddress(environment);
  if (address === undefined) {
    throw new KeyringAbsentError(`${keyring.name} is not reachable: there is no D-Bus session bus here.`, {
      hint: 'In a desktop session it is there by itself. Over SSH: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus',
    });
  }
  try {
    return await connectBus(address, deadlineIn(timeoutMs));
  } catch (error) {
    if (error instanceof BusError && error.errorName === 'disconnected') {
      throw new KeyringAbsentError(
        `${keyring.name} is not reachable: the session bus is not there (${quote(error.message)}).`,
        { hint: 'Check DBUS_SESSION_BUS_ADDRESS, or unset it.' },
      );
    }
    if (error instanceof BusError && error.errorName === 'foreign') {
      throw new KeyringAbsentError(
        `${keyring.name} is not used: this is another user's session bus (${quote(error.message)}).`,
        {
          hint: 'The address may be of a session that is over. Unset DBUS_SESSION_BUS_ADDRESS, or set it to the bus of your own session: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus',
        },
      );
    }
    throw busFailure(error, keyring);
  }
}

/** Converts a failed call into the keyring's error. Returns anything but a BusError unchanged. */
export function busFailure(error: unknown, keyring: BusKeyring): unknown {
  if (!(error instanceof BusError)) return error;
  const said = `(${error.errorName}: ${quote(error.message)})`;
  const name = error.errorName.replace('org.freedesktop.DBus.Error.', '');
  if (name === 'ServiceUnknown' || name === 'NameHasNoOwner') {
    return new KeyringAbsentError(`${keyring.name} does not run on the session bus.`, {
      hint: keyring.whenAbsent,
    });
  }
  if (name.startsWith('Spawn.')) {
    return new KeyringAbsentError(`${keyring.name} is installed, but cannot start here ${said}.`, {
      hint: 'It may need a display: log in to the desktop first, or choose --keyring file',
    });
  }
  return failureOfService(name, said, keyring);
}

function failureOfService(name: string, said: string, keyring: BusKeyring): HoldfastError {
  switch (name) {
    case 'AccessDenied':
    case 'AuthFailed':
      return new KeyringDeniedError(`${keyring.name} refuses this program ${said}.`, {
        hint: `A sandbox may filter the bus: allow ${keyring.busName} there.`,
      });
    case 'timeout':
    case 'TimedOut':
      // The service runs but is slow: neither absent nor locked.
      return retryable(
        new KeyringBrokenError(`${keyring.name} does not answer in time ${said}.`, {
          hint: `Try again in a moment. If that does not help, it hangs: restart ${keyring.daemons}.`,
        }),
      );
    default:
      return new KeyringBrokenError(`${keyring.name} does not work ${said}.`, {
        hint: 'Restart it, then try again.',
      });
  }
}
