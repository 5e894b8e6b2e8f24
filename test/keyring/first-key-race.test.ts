import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { KeyringBrokenError } from '../../src/errors.ts';
import { KeyringResolution } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { DesktopKeyring, opener } from '../support/keyrings/keyring.ts';

/** A keyring that other machines also write, without a lock. After a write it holds their value. */
class OverwrittenKeyring extends DesktopKeyring {
  readonly #theirs: Uint8Array | undefined;

  constructor(theirs: Uint8Array | undefined) {
    super();
    this.#theirs = theirs;
  }

  override async set(name: string, secret: Uint8Array) {
    await super.set(name, secret);
    if (this.#theirs === undefined) await this.delete(name);
    else await super.set(name, this.#theirs);
  }
}

async function keysOver(keyring: DesktopKeyring): Promise<SealingKeys> {
  const { environment, layout } = await temporaryHome();
  return new SealingKeys(
    new KeyringResolution({ openers: [opener(keyring)], choice: 'desktop' }),
    layout,
    environment,
  );
}

describe('the first key, when another machine writes one at the same moment', () => {
  test('uses the first key that the keyring holds when another machine wrote it last', async () => {
    const theirs = randomBytes(32);
    const keys = await keysOver(new OverwrittenKeyring(Buffer.from(theirs.toString('base64url'))));
    expect(Buffer.from((await keys.strongest()).key).equals(theirs)).toBe(true);
  });

  test('reports a keyring that did not keep the first key', async () => {
    const keys = await keysOver(new OverwrittenKeyring(undefined));
    await expect(keys.strongest()).rejects.toThrow(KeyringBrokenError);
    await expect(keys.strongest()).rejects.toThrow('did not keep what was written to it');
  });
});
