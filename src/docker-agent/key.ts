import { InvalidArgumentError, KeyringAbsentError, KeyringBrokenError } from '../errors.ts';
import { SEALING_KEY_ITEM } from '../keyring/key-text.ts';
import type { Keyring, KeyringOpener, KeyringProbe, Tier } from '../keyring/keyring.ts';
import { defaultOpeners } from '../keyring/resolve.ts';
import type { Environment } from '../system/environment.ts';
import type { Layout } from '../system/files/paths.ts';

/*
 * docker-agent's key as our sealing key: 32 raw bytes under its own service and item, in the layout of
 * 99designs/keyring.
 */

const SERVICE = 'docker-agent-oauth';
const ITEM = 'oauth:encryption-key';
const KEY_BYTES = 32;

/** These variables would give the file keyring a passphrase other than the one in docker-agent's directory. */
const PASSPHRASES = ['HOLDFAST_PASSPHRASE', 'HOLDFAST_PASSPHRASE_FILE', 'CREDENTIALS_DIRECTORY'];

export interface KeyMaking {
  /** Whether a token file exists already: no new key could open it. */
  isSealed(): Promise<boolean>;
  /** Runs the step under docker-agent's lock. docker-agent makes its own key under the same lock. */
  locked<T>(step: () => Promise<T>): Promise<T>;
}

/**
 * Returns the keyrings that may hold docker-agent's key, the strongest first.
 *
 * @param layout has docker-agent's own directory and passphrase for the file keyring
 * @param making tells about docker-agent's files before Holdfast makes a key
 */
export function dockerAgentOpeners(
  environment: Environment,
  layout: Layout,
  making: KeyMaking,
): readonly KeyringOpener[] {
  const variables = Object.fromEntries(
    Object.entries(environment.variables).filter(([name]) => !PASSPHRASES.includes(name)),
  );
  return defaultOpeners({ ...environment, variables }, layout, { as99designs: SERVICE })
    .filter(({ tier, id }) => tier !== 'shared' && !id.startsWith('keyctl'))
    .map((opener) => ({
      ...opener,
      open: async () => {
        const keyring = await opener.open();
        return keyring && new DockerAgentKeyring(keyring, making);
      },
    }));
}

/**
 * Whether the desktop has a Secret Service. docker-agent looks there first, and makes a key when it finds none. It then
 * never sees a key in a weaker keyring.
 */
export async function hasSecretService(environment: Environment, layout: Layout): Promise<boolean> {
  const opener = defaultOpeners(environment, layout).find(({ id }) => id === 'secret-service');
  try {
    const keyring = await opener?.open();
    if (keyring === undefined) return false;
    try {
      return (await keyring.probe()).status !== 'absent';
    } finally {
      await keyring.close();
    }
  } catch (error) {
    if (error instanceof KeyringAbsentError) return false;
    throw error;
  }
}

class DockerAgentKeyring implements Keyring {
  readonly id: string;
  readonly tier: Tier;
  readonly #keyring: Keyring;
  readonly #making: KeyMaking;

  constructor(keyring: Keyring, making: KeyMaking) {
    this.id = keyring.id;
    this.tier = keyring.tier;
    this.#keyring = keyring;
    this.#making = making;
  }

  probe(): Promise<KeyringProbe> {
    return this.#keyring.probe();
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    if (name !== SEALING_KEY_ITEM) return this.#keyring.get(name);
    const key = await this.#keyring.get(ITEM);
    if (key === undefined) return undefined;
    if (key.length !== KEY_BYTES) {
      throw new KeyringBrokenError(
        `docker-agent’s key in the keyring ${this.id} has ${key.length} bytes in place of ${KEY_BYTES}; it is left as it is.`,
        { hint: `Put the item ${ITEM} of ${SERVICE} back from a backup.` },
      );
    }
    return Buffer.from(Buffer.from(key).toString('base64url'), 'ascii');
  }

  async set(name: string, secret: Uint8Array): Promise<void> {
    const text = Buffer.from(secret).toString('latin1');
    if (name !== SEALING_KEY_ITEM || text.includes(' ')) {
      throw new InvalidArgumentError('docker-agent has one key, which Holdfast does not replace.', {
        hint: 'Log out and in again to have tokens sealed anew.',
      });
    }
    await this.#making.locked(async () => {
      // docker-agent would find this new key before the key that opens the tokens, and would overwrite the tokens.
      if (await this.#making.isSealed()) {
        throw new KeyringBrokenError(
          `The keyring ${this.id} has no key of docker-agent’s, and its tokens are sealed under one already.`,
          {
            hint: 'Run Holdfast where docker-agent made its logins: in the same desktop session, or with its files.',
          },
        );
      }
      if ((await this.#keyring.get(ITEM)) !== undefined) {
        throw new KeyringBrokenError(`docker-agent has just made its key in the keyring ${this.id}.`, {
          hint: 'Try again.',
        });
      }
      await this.#keyring.set(ITEM, Buffer.from(text, 'base64url'));
    });
  }

  delete(name: string): Promise<boolean> {
    return this.#keyring.delete(name === SEALING_KEY_ITEM ? ITEM : name);
  }

  close(): Promise<void> {
    return this.#keyring.close();
  }
}
