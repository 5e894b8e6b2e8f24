import {
  type HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
} from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Environment } from '../../system/environment.ts';
import {
  MAX_BLOB_BYTES,
  type WindowsCredentials,
  windowsCredentials,
} from '../../system/os/windows-credentials.ts';
import { WindowsError } from '../../system/os/windows-error.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';

/*
 * The Windows Credential Manager. Each item is one generic credential with the bare secret as its blob. It never
 * prompts and is never locked while its user is logged on. A network logon has no Credential Manager.
 */

/** Maps an item's name to the target of its credential. */
type TargetNames = (item: string) => string;

/** The name under which `cmdkey /list:holdfast:sealing-key` finds it. */
const OURS: TargetNames = (item) => `holdfast:${item}`;

/** The target names of 99designs/keyring for the items of a service. */
function sharedTargets(service: string): TargetNames {
  return (item) => `keyring:${service}:${item}`;
}

export interface WincredOptions {
  /** The service of a program built on 99designs/keyring, which shares its items. */
  readonly as99designs?: string | undefined;
  /** The target names of any other program. */
  readonly targets?: TargetNames | undefined;
  /** A replacement for advapi32, for tests. */
  readonly credentials?: (() => Promise<WindowsCredentials>) | undefined;
}

/** @throws KeyringAbsentError on another system; KeyringBrokenError when advapi32 cannot be called */
export async function openWincred(environment: Environment, options: WincredOptions = {}): Promise<Keyring> {
  if (environment.platform !== 'win32') {
    throw new KeyringAbsentError('The Credential Manager is a part of Windows.', {
      hint: 'Leave the choice to Holdfast: --keyring auto',
    });
  }
  try {
    const credentials = await (options.credentials ?? windowsCredentials)();
    const { as99designs, targets } = options;
    const named = targets ?? (as99designs === undefined ? OURS : sharedTargets(as99designs));
    return new Wincred(credentials, named);
  } catch (cause) {
    throw new KeyringBrokenError(`The Credential Manager cannot be called: ${quote(String(cause))}.`, {
      cause,
      hint: 'It is called by koffi, which may be missing for this processor: npm install koffi',
    });
  }
}

/** An item that the probe reads and that never exists. */
const PROBE = 'probe';

class Wincred implements Keyring {
  readonly id = 'wincred';
  readonly tier = 'native';
  readonly #credentials: WindowsCredentials;
  readonly #targets: TargetNames;

  constructor(credentials: WindowsCredentials, targets: TargetNames) {
    this.#credentials = credentials;
    this.#targets = targets;
  }

  probe(): Promise<KeyringProbe> {
    return probing('disk', () => this.get(PROBE));
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    return mapping(() => this.#credentials.read(this.#targets(name)));
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    if (secret.length > MAX_BLOB_BYTES) {
      throw new KeyringBrokenError(
        `The Credential Manager takes ${MAX_BLOB_BYTES} bytes, and this secret has ${secret.length}.`,
        { hint: 'Keep a key there, and what it opens in a file.' },
      );
    }
    mapping(() =>
      this.#credentials.write({
        target: this.#targets(name),
        blob: secret,
        userName: name,
        comment: this.#targets === OURS ? 'Holdfast' : undefined,
      }),
    );
  }

  async delete(name: string): Promise<boolean> {
    return mapping(() => this.#credentials.delete(this.#targets(name)));
  }

  async close(): Promise<void> {
    // No resource stays open between calls.
  }
}

function mapping<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw keyringError(error);
  }
}

/** Maps the error numbers of winerror.h. */
function keyringError(error: unknown): HoldfastError {
  if (!(error instanceof WindowsError)) {
    return new KeyringBrokenError(`The Credential Manager does not work: ${quote(String(error))}.`, {
      cause: error,
      hint: 'See: holdfast doctor',
    });
  }
  const said = `(${error.call}: error ${error.number})`;
  switch (error.number) {
    // ERROR_NO_SUCH_LOGON_SESSION
    case 1312:
      return new KeyringAbsentError(`This logon session has no Credential Manager ${said}.`, {
        cause: error,
        hint: 'A network logon (SSH with a key, WinRM, a service) has none: log on at the desktop, or use --keyring file',
      });
    // ERROR_ACCESS_DENIED, ERROR_PRIVILEGE_NOT_HELD
    case 5:
    case 1314:
      return new KeyringDeniedError(`The Credential Manager refuses this program ${said}.`, {
        cause: error,
        hint: 'A sandbox or a policy may forbid it: run outside of it, or use --keyring file',
      });
    // ERROR_SERVICE_DISABLED, RPC_S_SERVER_UNAVAILABLE
    case 1058:
    case 1722:
      return new KeyringBrokenError(`The Credential Manager does not run ${said}.`, {
        cause: error,
        hint: 'Start its service: Start-Service VaultSvc',
      });
    default:
      return new KeyringBrokenError(`The Credential Manager does not work ${said}.`, {
        cause: error,
        hint: `What the number means: net helpmsg ${error.number}`,
      });
  }
}
