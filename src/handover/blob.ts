import { createHash } from 'node:crypto';
import * as HPKE from 'hpke';
import * as v from 'valibot';
import { MAX_RESOURCE_LENGTH } from '../credential.ts';
import { HandoverDamagedError, HandoverNewerError, InvalidArgumentError } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { HandoverCode } from './code.ts';
import { TRANSFER_MODES, type TransferMode } from './transfer-mode.ts';

/*
 * A login on its way to another machine. HPKE (RFC 9180, base mode) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
 * AES-256-GCM seals it to the public key of a hand-over code. A blob has three base64url parts, separated by dots, in
 * lines as in PEM: the header, the encapsulated key, the ciphertext. Anybody can read the header and nobody can alter
 * it: it is the AAD. The lines survive a terminal, a chat and an editor; the last line proves that nothing was cut off.
 *
 * Base mode does not authenticate the sender: anybody who knows the code can seal a blob. So people compare the words
 * of the blob.
 */

const VERSION = 1;
const BEGIN = '-----BEGIN HOLDFAST HAND-OVER-----';
const END = '-----END HOLDFAST HAND-OVER-----';
const LINE = 72;

/** A login has a few kilobytes. A larger text is refused before decoding. */
export const MAX_BLOB_CHARACTERS = 256 * 1024;
const MAX_PLAINTEXT_BYTES = 128 * 1024;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const INFO = Buffer.from('holdfast hand-over 1');

const Header = v.strictObject({
  v: v.literal(VERSION),
  to: v.pipe(v.string(), v.regex(/^[\w-]{22}$/)),
  resource: v.pipe(v.string(), v.nonEmpty(), v.maxLength(MAX_RESOURCE_LENGTH)),
  account: v.pipe(v.string(), v.nonEmpty(), v.maxLength(128)),
  mode: v.picklist(TRANSFER_MODES),
  expiresAt: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});

/** The part of a blob that anybody can read. Until the blob is opened, every field is only a claim. */
export interface BlobHeader {
  /** The id of the code that the blob is sealed to. */
  readonly to: string;
  readonly resource: string;
  readonly account: string;
  readonly mode: TransferMode;
  /** The end of its lifetime by the sender's clock, in milliseconds since the epoch. */
  readonly expiresAt: number;
}

export interface SealedBlob {
  readonly header: BlobHeader;
  /** The SHA-256 of all three parts; the words of the blob are derived from it. */
  readonly digest: Uint8Array;
  readonly parts: {
    readonly aad: Uint8Array;
    readonly encapsulated: Uint8Array;
    readonly ciphertext: Uint8Array;
  };
}

/** The key pair for one hand-over. */
export interface HandoverKeys {
  readonly publicKey: Uint8Array;
  /** X25519, 32 bytes in base64url. */
  readonly privateKey: Secret;
}

export async function generateHandoverKeys(): Promise<HandoverKeys> {
  const { publicKey, privateKey } = await suite().GenerateKeyPair(true);
  return {
    publicKey: await suite().SerializePublicKey(publicKey),
    privateKey: new Secret(Buffer.from(await suite().SerializePrivateKey(privateKey)).toString('base64url')),
  };
}

/**
 * Seals a login to a code.
 *
 * @throws InvalidArgumentError when the code is not a key that can be sealed to (RFC 9180 section 7.1.4), or the login
 *   is too large
 */
export async function sealBlob(
  code: HandoverCode,
  about: Omit<BlobHeader, 'to'>,
  plaintext: Uint8Array,
): Promise<string> {
  if (plaintext.length > MAX_PLAINTEXT_BYTES) {
    throw new InvalidArgumentError(
      `The login has ${plaintext.length} bytes, and a hand-over takes ${MAX_PLAINTEXT_BYTES} at most.`,
      { hint: 'Log in on the other machine: holdfast login URL' },
    );
  }
  const { resource, account, mode, expiresAt } = about;
  const header = Buffer.from(
    JSON.stringify({ v: VERSION, to: code.id, resource, account, mode, expiresAt }),
  ).toString('base64url');
  const sealed = await sealTo(code.publicKey, plaintext, Buffer.from(header, 'ascii'));
  const text = [
    header,
    Buffer.from(sealed.encapsulatedSecret).toString('base64url'),
    Buffer.from(sealed.ciphertext).toString('base64url'),
  ].join('.');
  return [BEGIN, ...(text.match(new RegExp(`.{1,${LINE}}`, 'g')) ?? []), END].join('\n');
}

/** Tells whether the text contains a blob's last line, so that the reader can stop waiting for more. */
export function isWholeBlob(text: string): boolean {
  return text.includes(END);
}

/**
 * Reads a blob without opening it. The text may contain more around the blob, and other line breaks.
 *
 * @throws HandoverDamagedError when the text contains no blob, or the blob was cut off
 * @throws HandoverNewerError
 */
export function readBlob(text: string): SealedBlob {
  if (text.length > MAX_BLOB_CHARACTERS) {
    throw damaged(`it has more than ${MAX_BLOB_CHARACTERS} characters, and no blob is so large`);
  }
  const begin = text.indexOf(BEGIN);
  if (begin < 0) throw damaged(`the line ${BEGIN} is missing`);
  const end = text.indexOf(END, begin);
  if (end < 0) throw damaged(`it was cut: the line ${END} is missing`);
  const payload = text.slice(begin + BEGIN.length, end).replace(/\s/g, '');
  const [headerText = '', ...rest] = payload.split('.');
  const [header, encapsulated, ciphertext] = [headerText, ...rest].map(canonicalBase64url);
  if (rest.length !== 2 || !header || !encapsulated || !ciphertext) {
    throw damaged('it is not three parts of base64url');
  }
  const about = parseHeader(header);
  if (encapsulated.length !== KEY_BYTES || ciphertext.length < TAG_BYTES) {
    throw damaged('a part has the wrong length');
  }
  return {
    header: about,
    digest: createHash('sha256').update(payload, 'latin1').digest(),
    parts: { aad: Buffer.from(headerText, 'ascii'), encapsulated, ciphertext },
  };
}

/**
 * Opens a blob.
 *
 * @throws HandoverDamagedError when any part of it was altered
 */
export async function openBlob(
  { parts: { aad, encapsulated, ciphertext } }: SealedBlob,
  { publicKey, privateKey }: HandoverKeys,
): Promise<Uint8Array> {
  const keys = {
    publicKey: await suite().DeserializePublicKey(publicKey),
    privateKey: await suite().DeserializePrivateKey(Buffer.from(privateKey.reveal(), 'base64url'), false),
  };
  try {
    return await suite().Open(keys, encapsulated, ciphertext, { aad, info: INFO });
  } catch (error) {
    if (error instanceof HPKE.OpenError || error instanceof HPKE.DecapError) {
      throw damaged('it fails authentication, so something in it was altered');
    }
    throw error;
  }
}

function suite() {
  return new HPKE.CipherSuite(HPKE.KEM_DHKEM_X25519_HKDF_SHA256, HPKE.KDF_HKDF_SHA256, HPKE.AEAD_AES_256_GCM);
}

async function sealTo(publicKey: Uint8Array, plaintext: Uint8Array, aad: Uint8Array) {
  try {
    const key = await suite().DeserializePublicKey(publicKey);
    return await suite().Seal(key, plaintext, { aad, info: INFO });
  } catch (error) {
    // A point of small order: anybody could open a blob that is sealed to it.
    if (error instanceof HPKE.EncapError || error instanceof HPKE.DeserializeError) {
      throw new InvalidArgumentError('The hand-over code holds no usable public key.', {
        hint: 'Nothing was sealed. Make another one: holdfast receive',
      });
    }
    throw error;
  }
}

function parseHeader(bytes: Uint8Array): BlobHeader {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw damaged('its header is not JSON');
  }
  const version =
    typeof json === 'object' && json !== null && 'v' in json && typeof json.v === 'number' ? json.v : 0;
  if (version > VERSION) {
    throw new HandoverNewerError(
      'The hand-over blob says that a newer Holdfast made it, and cannot be read here.',
      // Nothing in the blob is authentic yet, so the hint must not make anybody install anything.
      {
        hint: 'Ask the sender which version it has. If that is newer, update Holdfast here as you installed it.',
      },
    );
  }
  const parsed = v.safeParse(Header, json);
  if (!parsed.success) throw damaged('its header is not one');
  const { v: _version, ...header } = parsed.output;
  return header;
}

/** Decodes base64url, and rejects the other spellings of the same bytes that a lenient decoder accepts. */
function canonicalBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function damaged(why: string): HandoverDamagedError {
  return new HandoverDamagedError(`The hand-over blob cannot be read: ${why}.`, {
    hint: 'Copy all of it, from its first line to its last. It can still be opened.',
  });
}
