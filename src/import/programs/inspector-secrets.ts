import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto';
import { resolve } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import { Secret } from '../../secret.ts';
import type { Environment } from '../../system/environment.ts';
import { readClientFile } from '../../system/files/client-file.ts';
import { objectAt, objectOf, textAt } from '../fields.ts';
import { type Codec, JSON_CODEC } from '../source-file.ts';

/*
 * The Inspector's `secrets.json`: a map of secrets, plain, or sealed with AES-256-GCM. scrypt derives the key from a
 * passphrase. Each write has its own salt.
 */

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** The Inspector's own cost, and the highest cost accepted from a file. */
const COST = { N: 16_384, r: 8, p: 1 };

/** The passphrase, or why it is missing, as the end of "it is encrypted, and …". */
export type Passphrase = { readonly passphrase: Secret } | { readonly problem: string };

/** The passphrase, read from the Inspector's own sources. */
export async function inspectorPassphrase({ variables }: Environment): Promise<Passphrase> {
  const direct = variables['MCP_INSPECTOR_SECRET_KEY'];
  const file = variables['MCP_INSPECTOR_SECRET_KEY_FILE']?.trim();
  if (direct?.trim() && file !== undefined) {
    return { problem: 'both MCP_INSPECTOR_SECRET_KEY and MCP_INSPECTOR_SECRET_KEY_FILE are set: unset one' };
  }
  if (direct?.trim()) return { passphrase: new Secret(direct) };
  if (!file) {
    return { problem: 'set MCP_INSPECTOR_SECRET_KEY or MCP_INSPECTOR_SECRET_KEY_FILE as for the Inspector' };
  }
  try {
    const { text } = await readClientFile(resolve(file));
    const passphrase = text?.replace(/[\r\n]+$/, '') ?? '';
    if (passphrase.trim() !== '') return { passphrase: new Secret(passphrase) };
    return { problem: 'the file that MCP_INSPECTOR_SECRET_KEY_FILE names is empty, or not there' };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { problem: `MCP_INSPECTOR_SECRET_KEY_FILE: ${error.message.replace(/\.$/, '')}` };
  }
}

/**
 * `{ encryption, secrets }`, or `{ encryption, problem }` if it cannot be opened: the reason, without a secret.
 * Removing an entry keeps the file plain or sealed, as it was.
 */
export function secretsCodec(key: Passphrase): Codec {
  return {
    parse: (text) => {
      const file = objectOf(JSON_CODEC.parse(text));
      const version = file?.['version'];
      const encryption = file?.['encryption'];
      if (version !== 1 || (encryption !== 'none' && encryption !== CIPHER)) {
        throw new SyntaxError('not a version that is known');
      }
      if (encryption === 'none') return { encryption, secrets: file?.['secrets'] };
      if ('problem' in key) return { encryption, problem: key.problem };
      return { encryption, ...opened(file, key.passphrase) };
    },
    remove: (text, path) => {
      const file = objectOf(JSON_CODEC.parse(text));
      if (file?.['encryption'] !== CIPHER) return JSON_CODEC.remove(text, path);
      if ('problem' in key) return text;
      const { secrets } = opened(file, key.passphrase);
      if (secrets === undefined) return text;
      const { [String(path.at(-1))]: _gone, ...rest } = secrets;
      return sealed(rest, key.passphrase);
    },
  };
}

function opened(
  file: unknown,
  passphrase: Secret,
): { readonly secrets?: Readonly<Record<string, unknown>>; readonly problem?: string } {
  const kdf = objectAt(file, 'kdf');
  const parts = (textAt(objectOf(file), 'data') ?? '').split('.').map((part) => Buffer.from(part, 'base64'));
  const [iv, tag, ciphertext] = parts;
  const salt = Buffer.from(textAt(kdf, 'salt') ?? '', 'base64');
  const cost = {
    N: costIn(kdf?.['N'], COST.N),
    r: costIn(kdf?.['r'], COST.r),
    p: costIn(kdf?.['p'], COST.p),
  };
  if (
    parts.length !== 3 ||
    iv?.length !== IV_BYTES ||
    tag?.length !== TAG_BYTES ||
    ciphertext === undefined ||
    salt.length === 0 ||
    kdf?.['algorithm'] !== 'scrypt'
  ) {
    throw new SyntaxError('not sealed as it is known');
  }
  const decipher = createDecipheriv(CIPHER, scryptSync(passphrase.reveal(), salt, KEY_BYTES, cost), iv, {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(tag);
  let plain: string;
  try {
    plain = Buffer.concat([decipher.update(ciphertext), decipher.final()]).toString('utf8');
  } catch {
    return { problem: 'the passphrase does not open it, or it is damaged' };
  }
  const secrets = objectOf(JSON_CODEC.parse(plain));
  if (secrets === undefined) throw new SyntaxError('no map of secrets');
  return { secrets };
}

/** A file may not demand more work than the Inspector itself would spend. */
function costIn(value: unknown, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= most) return value;
  throw new SyntaxError('not a cost that is known');
}

function sealed(secrets: Readonly<Record<string, unknown>>, passphrase: Secret): string {
  const salt = randomBytes(16);
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, scryptSync(passphrase.reveal(), salt, KEY_BYTES, COST), iv, {
    authTagLength: TAG_BYTES,
  });
  const ciphertext = Buffer.concat([cipher.update(JSON.stringify(secrets), 'utf8'), cipher.final()]);
  const data = [iv, cipher.getAuthTag(), ciphertext].map((part) => part.toString('base64')).join('.');
  const kdf = { algorithm: 'scrypt', salt: salt.toString('base64'), ...COST };
  return `${JSON.stringify({ version: 1, encryption: CIPHER, kdf, data }, null, 2)}\n`;
}
