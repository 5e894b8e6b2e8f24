import { randomBytes } from 'node:crypto';
import {
  type HoldfastError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
} from '../../errors.ts';
import {
  type KernelKeyring,
  KeyError,
  type KeySerial,
  loadKernelKeyring,
  MAX_PAYLOAD_BYTES,
  RING,
} from '../../system/os/kernel-keyring.ts';
import type { Keyring, KeyringProbe } from '../keyring.ts';
import { probing } from '../probe-result.ts';
import { KEYCTL_LIFETIMES, type KeyctlScope } from './keyctl-scope.ts';

/*
 * The kernel's own keyring. It is never on disk and does not survive a boot, so it is used only when the user names the
 * ring. Items are keys of type `user`. Only a process that possesses such a key can read it: one of the process's own
 * rings must lead to the key. When the session ring does not, as in containers and some services, the code links the
 * ring into the process ring.
 */

/** An expired or revoked key counts as missing: the kernel removes it automatically within minutes. */
const NOT_THERE = new Set(['ENOKEY', 'EKEYEXPIRED', 'EKEYREVOKED']);

/**
 * Opens the ring of a scope.
 *
 * @param options.as99designs the service of a program built on 99designs/keyring; its items are in a nested ring of
 *   that name
 * @throws KeyringAbsentError when the kernel keyring cannot be called
 */
export async function openKernelKeyring(
  scope: KeyctlScope,
  options: { as99designs?: string | undefined } = {},
): Promise<Keyring> {
  try {
    return new Keyctl(await loadKernelKeyring(), scope, options.as99designs);
  } catch (error) {
    throw keyringError(error);
  }
}

class Keyctl implements Keyring {
  readonly id: string;
  readonly tier = 'native';
  readonly #kernel: KernelKeyring;
  readonly #scope: KeyctlScope;
  readonly #service: string | undefined;

  constructor(kernel: KernelKeyring, scope: KeyctlScope, service: string | undefined) {
    this.id = `keyctl:${scope}`;
    this.#kernel = kernel;
    this.#scope = scope;
    this.#service = service;
  }

  /** Containers may allow only some of the calls, so the probe makes all of them. */
  probe(): Promise<KeyringProbe> {
    return probing(KEYCTL_LIFETIMES[this.#scope], () =>
      this.#inRing((ring) => this.#roundTrip(this.#itemRing(ring) ?? ring)),
    );
  }

  get(name: string): Promise<Uint8Array | undefined> {
    return this.#inRing((scope) => {
      const ring = this.#itemRing(scope);
      const key = ring && this.#find(ring, this.#described(name));
      return key === undefined ? undefined : Uint8Array.from(this.#kernel.read(key));
    });
  }

  set(name: string, secret: Uint8Array): Promise<void> {
    return this.#inRing((scope) => {
      if (secret.length === 0 || secret.length > MAX_PAYLOAD_BYTES) {
        throw new KeyringBrokenError(
          `A key of the kernel holds 1 to ${MAX_PAYLOAD_BYTES} bytes, not ${secret.length}.`,
          { hint: 'Choose another keyring, such as --keyring file' },
        );
      }
      const ring = this.#itemRing(scope) ?? this.#makeItemRing(scope);
      const key = this.#kernel.add('user', this.#described(name), secret, ring);
      if (this.#find(ring, this.#described(name)) !== undefined) return;
      // An expired key accepts a new payload, but in older kernels it stays expired.
      this.#kernel.unlink(key, ring);
      this.#kernel.add('user', this.#described(name), secret, ring);
    });
  }

  delete(name: string): Promise<boolean> {
    return this.#inRing((scope) => {
      const ring = this.#itemRing(scope);
      const key = ring && this.#find(ring, this.#described(name));
      return ring !== undefined && key !== undefined && this.#unlink(key, ring);
    });
  }

  async close(): Promise<void> {
    // No resource stays open between calls.
  }

  /** The name under which `keyctl print $(keyctl search @u user holdfast:NAME)` shows the item. */
  #described(name: string): string {
    return this.#service === undefined ? `holdfast:${name}` : name;
  }

  /** `async`, so that a synchronous refusal by the kernel rejects like any other. */
  async #inRing<T>(step: (ring: KeySerial) => T): Promise<T> {
    try {
      const ring = this.#scopeRing();
      try {
        return step(ring);
      } catch (error) {
        if (!(error instanceof KeyError) || error.code !== 'EACCES') throw error;
        this.#kernel.link(ring, RING.process);
        return step(ring);
      }
    } catch (error) {
      throw keyringError(error);
    }
  }

  #scopeRing(): KeySerial {
    if (this.#scope === 'persistent') return this.#kernel.persistentRing();
    if (this.#scope !== 'session') return RING[this.#scope];
    const ring = this.#kernel.ringOf(RING.session);
    // A write to this ring would make the kernel create a new session for this process alone.
    if (/;_uid_ses\.\d+$/.test(this.#kernel.describe(ring))) {
      throw new KeyringAbsentError('This login session has no keyring of its own in the kernel.', {
        hint: 'Start the shell with one: keyctl session, or pam_keyinit; or choose --keyring keyctl:user',
      });
    }
    return ring;
  }

  /** The ring that holds the items: the scope's ring, or the service's nested ring. */
  #itemRing(scope: KeySerial): KeySerial | undefined {
    return this.#service === undefined ? scope : this.#search(scope, 'keyring', this.#service);
  }

  #makeItemRing(scope: KeySerial): KeySerial {
    return this.#kernel.add('keyring', this.#service ?? '', new Uint8Array(0), scope);
  }

  #find(ring: KeySerial, description: string): KeySerial | undefined {
    return this.#search(ring, 'user', description);
  }

  #search(ring: KeySerial, type: 'user' | 'keyring', description: string): KeySerial | undefined {
    try {
      return this.#kernel.search(ring, type, description);
    } catch (error) {
      if (!(error instanceof KeyError) || !NOT_THERE.has(error.code)) throw error;
      return undefined;
    }
  }

  /** A search also finds keys in nested rings. Such a key is not in this ring, so the kernel cannot unlink it. */
  #unlink(key: KeySerial, ring: KeySerial): boolean {
    try {
      this.#kernel.unlink(key, ring);
      return true;
    } catch (error) {
      if (error instanceof KeyError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  #roundTrip(ring: KeySerial): void {
    const description = `holdfast:probe-${randomBytes(6).toString('hex')}`;
    const written = randomBytes(32);
    // If the kernel refuses the search, the probe could not remove its key either.
    this.#find(ring, description);
    const key = this.#kernel.add('user', description, written, ring);
    try {
      const found = this.#kernel.read(this.#kernel.search(ring, 'user', description));
      if (!written.equals(found)) {
        throw new KeyringBrokenError('The kernel keyring gave back something else than was kept.', {
          hint: 'Choose another one, such as --keyring file',
        });
      }
    } finally {
      this.#kernel.unlink(key, ring);
    }
  }
}

function keyringError(error: unknown): unknown {
  return error instanceof KeyError ? refusal(error) : error;
}

function refusal({ code, message }: KeyError): HoldfastError {
  switch (code) {
    case 'ENOSYS':
    case 'EOPNOTSUPP':
    case 'ENOTSUP':
    case 'unsupported':
      return new KeyringAbsentError(`There is no kernel keyring here (${message}).`, {
        hint: 'The kernel, or the container’s runtime, does not have it. Choose another one, such as --keyring file',
      });
    case 'EKEYEXPIRED':
    case 'EKEYREVOKED':
    case 'ENOKEY':
      return new KeyringAbsentError(`That ring of the kernel is gone (${message}).`, {
        hint: 'It has expired, or its session was ended. Log in to the machine anew, or choose --keyring keyctl:user',
      });
    case 'EPERM':
    case 'EACCES':
      return new KeyringDeniedError(`The kernel keyring refuses this program (${message}).`, {
        hint: 'In a container, its seccomp profile must allow add_key and keyctl; or choose another one, such as --keyring file',
      });
    case 'EDQUOT':
      return new KeyringDeniedError(`The kernel keyring takes no more keys of this user (${message}).`, {
        hint: 'See /proc/key-users; remove keys (keyctl show, keyctl unlink), or raise kernel.keys.maxkeys and kernel.keys.maxbytes.',
      });
    default:
      return new KeyringBrokenError(`The kernel keyring does not work (${message}).`, {
        hint: 'Choose another one, such as --keyring file',
      });
  }
}
