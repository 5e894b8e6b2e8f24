import { KeyringAbsentError, KeyringDeniedError, KeyringLockedError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { type Bus, BusError, canBeStarted, type Deadline, deadlineIn } from '../../system/dbus/connection.ts';
import { type BusKeyring, busFailure, sessionBus } from '../../system/dbus/session-bus.ts';
import type { Environment } from '../../system/environment.ts';
import { decodeSharedItem, encodeSharedItem, SHARED_KWALLET_NAME } from '../file/layout-99designs.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';
import { readKWalletSettings } from './kwallet-settings.ts';

/*
 * KWallet over D-Bus, for Plasma 5. In Plasma 6, KWallet is a front end of the Secret Service, which is tried first.
 * Nothing here prompts. The daemon is never started, since its wallet would be closed then, and `open` is called only
 * for a wallet that is already open.
 */

const KWALLET: BusKeyring = {
  name: 'KWallet',
  busName: 'org.kde.kwalletd6, org.kde.kwalletd5',
  whenAbsent: 'It comes with the Plasma desktop.',
  daemons: 'kwalletd6 or kwalletd5',
};

const DAEMONS = [6, 5].map((version) => ({
  destination: `org.kde.kwalletd${version}`,
  path: `/modules/kwalletd${version}`,
  interface: 'org.kde.KWallet',
}));

/** Calls a method of the daemon and returns its first result. */
type Daemon = (member: string, signature?: string, ...body: readonly unknown[]) => Promise<unknown>;

const NOT_RUNNING = new Set([
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner',
]);

/** Types of entries, as `entryType` returns them. */
const NO_ENTRY = 0;
const PASSWORD = 1;

/** Time limit for each operation, with all of its calls, in milliseconds. */
const DEADLINE_MS = 3_000;

/** The location and format of items. */
interface ItemLayout {
  /** Default: the user's default wallet. */
  readonly wallet?: string;
  readonly folder: string;
  /** The program name that KWallet sees. */
  readonly application: string;
  /** Whether plain text is stored as a password, which KDE's own tools show; otherwise as raw bytes. */
  readonly passwords: boolean;
  encode(name: string, secret: Uint8Array): Uint8Array;
  decode(bytes: Uint8Array): Uint8Array;
}

/** The layout that `kwallet-query --folder Holdfast --read-password NAME kdewallet` reads. */
const OURS: ItemLayout = {
  folder: 'Holdfast',
  application: 'Holdfast',
  passwords: true,
  encode: (_name, secret) => secret,
  decode: (bytes) => bytes,
};

/** The layout of 99designs/keyring for the items of a service. */
function sharedLayout(wallet: string): ItemLayout {
  return {
    wallet,
    folder: SHARED_KWALLET_NAME,
    application: SHARED_KWALLET_NAME,
    passwords: false,
    encode: (key, data) => encodeSharedItem({ key, data }),
    decode: (bytes) => decodeSharedItem(bytes).data,
  };
}

/**
 * Connects to KWallet.
 *
 * @param options.as99designs the service of a program built on 99designs/keyring, which shares its wallet; the wallet
 *   must exist and be open
 * @throws KeyringAbsentError when no session bus exists; KeyringBrokenError when it does not answer
 */
export async function openKWallet(
  environment: Environment,
  options: { as99designs?: string | undefined } = {},
): Promise<Keyring> {
  const { as99designs } = options;
  const layout = as99designs === undefined ? OURS : sharedLayout(as99designs);
  const bus = await sessionBus(environment, KWALLET, DEADLINE_MS);
  return new KWallet(bus, layout, environment);
}

class KWallet implements Keyring {
  readonly id = 'kwallet';
  readonly tier = 'native';
  readonly #bus: Bus;
  readonly #layout: ItemLayout;
  readonly #environment: Environment;

  constructor(bus: Bus, layout: ItemLayout, environment: Environment) {
    this.#bus = bus;
    this.#layout = layout;
    this.#environment = environment;
  }

  probe(): Promise<KeyringProbe> {
    return probing('disk', () => this.#inWallet(async () => {}));
  }

  get(name: string): Promise<Uint8Array | undefined> {
    return this.#inWallet(async (wallet) => {
      const type = await wallet.entry('entryType', name);
      if (type === PASSWORD) {
        const text = await wallet.entry('readPassword', name);
        return this.#layout.decode(Buffer.from(String(text), 'utf8'));
      }
      if (type === NO_ENTRY) {
        await wallet.checkOpen();
        return undefined;
      }
      const bytes = await wallet.entry('readEntry', name);
      if (!(bytes instanceof Uint8Array)) throw new BusError('nonsense', 'readEntry gave no bytes');
      return Uint8Array.from(this.#layout.decode(bytes));
    });
  }

  set(name: string, secret: Uint8Array): Promise<void> {
    return this.#inWallet(async (wallet) => {
      const value = Buffer.from(this.#layout.encode(name, secret));
      const text = value.toString('latin1');
      const written =
        this.#layout.passwords && /^[\x20-\x7e]+$/.test(text)
          ? await wallet.entry('writePassword', name, 's', text)
          : await wallet.entry('writeEntry', name, 'ay', value);
      await wallet.done('write', written);
    });
  }

  delete(name: string): Promise<boolean> {
    return this.#inWallet(async (wallet) => {
      if ((await wallet.entry('entryType', name)) === NO_ENTRY) {
        await wallet.checkOpen();
        return false;
      }
      await wallet.done('remove', await wallet.entry('removeEntry', name));
      return true;
    });
  }

  async close(): Promise<void> {
    // The daemon ends this session with the connection. A `close` call could close the wallet for every program.
    this.#bus.close();
  }

  async #inWallet<T>(step: (wallet: OpenWallet) => Promise<T>): Promise<T> {
    const deadline = deadlineIn(DEADLINE_MS);
    try {
      const daemon = await this.#runningDaemon(deadline);
      return await step(await OpenWallet.of(daemon, this.#layout, this.#environment));
    } catch (error) {
      throw busFailure(error, KWALLET);
    }
  }

  /** Finds the first running daemon. Never starts a daemon. */
  async #runningDaemon(deadline: Deadline): Promise<Daemon> {
    let installed = false;
    for (const at of DAEMONS) {
      const call: Daemon = async (member, signature, ...body) => {
        const [answer] = await this.#bus.call({ ...at, member, signature, body, autoStart: false }, deadline);
        return answer;
      };
      try {
        if ((await call('isEnabled')) === true) return call;
        throw switchedOff();
      } catch (error) {
        if (!(error instanceof BusError) || !NOT_RUNNING.has(error.errorName)) throw error;
        installed ||= await canBeStarted(this.#bus, at.destination, deadline);
      }
    }
    if (!installed) throw new BusError('org.freedesktop.DBus.Error.ServiceUnknown', 'neither version runs');
    if (!(await readKWalletSettings(this.#environment)).enabled) throw switchedOff();
    throw new KeyringLockedError('KWallet does not run here, so its wallets are closed.', {
      hint: 'Log in to the desktop, or open the wallet in KWalletManager, then try again.',
    });
  }
}

/** An open wallet, for one operation. */
class OpenWallet {
  readonly #daemon: Daemon;
  readonly #layout: ItemLayout;
  readonly #name: string;
  readonly #handle: number;

  private constructor(daemon: Daemon, layout: ItemLayout, name: string, handle: number) {
    this.#daemon = daemon;
    this.#layout = layout;
    this.#name = name;
    this.#handle = handle;
  }

  /** Calls `open` only when that does not prompt. */
  static async of(daemon: Daemon, layout: ItemLayout, environment: Environment): Promise<OpenWallet> {
    const name = layout.wallet ?? String(await daemon('networkWallet'));
    if ((await daemon('isOpen', 's', name)) !== true) {
      const wallets = await daemon('wallets');
      const there = Array.isArray(wallets) && wallets.includes(name);
      throw there || layout.wallet === undefined ? closed(name) : noSuchWallet(name);
    }
    const settings = await readKWalletSettings(environment);
    if (settings.asksFor(name, layout.application)) throw wouldAsk(name);
    // 0n: a prompt would belong to no window.
    const handle = await daemon('open', 'sxs', name, 0n, layout.application);
    if (typeof handle !== 'number' || handle < 0) throw wouldAsk(name);
    return new OpenWallet(daemon, layout, name, handle);
  }

  /** Makes a call about one entry: `(handle, folder, key, …, application)`. */
  entry(member: string, key: string, signature = '', ...values: readonly unknown[]): Promise<unknown> {
    const { application, folder } = this.#layout;
    return this.#daemon(member, `iss${signature}s`, this.#handle, folder, key, ...values, application);
  }

  /** "Not there" is reliable only in an open wallet: the daemon gives the same answer for a closed one. */
  async checkOpen(): Promise<void> {
    if ((await this.#daemon('isOpen', 's', this.#name)) !== true) throw closed(this.#name);
  }

  /** Makes the daemon write its file now instead of some seconds later. */
  async done(what: string, result: unknown): Promise<void> {
    if (result !== 0) {
      await this.checkOpen();
      throw new BusError('nonsense', `it did not ${what} the entry: ${String(result)}`);
    }
    await this.#daemon('sync', 'is', this.#handle, this.#layout.application);
  }
}

function closed(wallet: string): KeyringLockedError {
  return new KeyringLockedError(`The wallet ${quote(wallet)} of KWallet is closed.`, {
    hint: 'Open it in KWalletManager, or let the login to the desktop open it (kwallet-pam), then try again.',
  });
}

function noSuchWallet(wallet: string): KeyringAbsentError {
  return new KeyringAbsentError(`KWallet has no wallet ${quote(wallet)}.`, {
    hint: 'The program that shares it makes it when it keeps something there.',
  });
}

function switchedOff(): KeyringAbsentError {
  return new KeyringAbsentError('KWallet is switched off.', {
    hint: 'Switch it on in System Settings, KDE Wallet, or choose --keyring file',
  });
}

function wouldAsk(wallet: string): KeyringDeniedError {
  return new KeyringDeniedError(`KWallet asks a person before a program may use ${quote(wallet)}.`, {
    hint: 'Add Holdfast to the authorized applications of that wallet in System Settings, KDE Wallet, or switch "Prompt when an application accesses an open wallet" off.',
  });
}
