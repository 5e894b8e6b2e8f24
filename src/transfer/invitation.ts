import * as v from 'valibot';
import { HandoverDamagedError } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { HandoverFiles, SavedHandover } from './sealed-files.ts';

/*
 * A hand-over code of this machine, as it is stored: with its private key until a blob has been opened or the code
 * expires. The opened login stays in it until it is stored as a credential, so a crash in between loses nothing and
 * opens nothing twice. Holdfast remembers the opening for a while, to tell a second attempt why it fails.
 */
export interface Invitation {
  /** The only resource and account that the code accepts; any, if absent. */
  readonly resource?: string | undefined;
  readonly account?: string | undefined;
  readonly publicKey: Uint8Array;
  /** Absent once the code has been used or has expired. */
  readonly privateKey?: Secret | undefined;
  /** By this machine's clock, in milliseconds since the epoch. */
  readonly expiresAt: number;
  /** When a blob was opened with the code, in milliseconds since the epoch. */
  readonly openedAt?: number | undefined;
  /** The opened login that is not stored yet: a credential in JSON. */
  readonly opened?: Secret | undefined;
}

/** How long Holdfast remembers that a code was used or expired, in milliseconds. */
const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1000;

const secret = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.transform((value) => new Secret(value)),
);
const time = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Invitation1 = v.object({
  v: v.literal(1),
  resource: v.optional(v.string()),
  account: v.optional(v.string()),
  publicKey: v.pipe(
    v.string(),
    v.transform((text): Uint8Array => Buffer.from(text, 'base64url')),
  ),
  privateKey: v.optional(secret),
  expiresAt: time,
  openedAt: v.optional(time),
  opened: v.optional(secret),
});

export async function writeInvitation(
  files: HandoverFiles,
  at: Pick<SavedHandover, 'id' | 'key'>,
  invitation: Invitation,
): Promise<void> {
  const { privateKey, opened, publicKey } = invitation;
  const plain = {
    ...invitation,
    v: 1,
    publicKey: Buffer.from(publicKey).toString('base64url'),
    // The only plain copy; it is sealed at once.
    privateKey: privateKey?.reveal(),
    opened: opened?.reveal(),
  };
  await files.write('code', { ...at, plaintext: Buffer.from(JSON.stringify(plain), 'utf8') });
}

/** @throws HandoverDamagedError for authentic content that is not an invitation, such as a newer Holdfast's */
export function parseInvitation({ plaintext }: SavedHandover): Invitation {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(plaintext).toString('utf8'));
  } catch {
    json = undefined;
  }
  const parsed = v.safeParse(Invitation1, json);
  if (!parsed.success) {
    throw new HandoverDamagedError('The key of that hand-over code cannot be used by this Holdfast.', {
      hint: 'Make another code: holdfast receive',
    });
  }
  const { v: _version, ...invitation } = parsed.output;
  return invitation;
}

/** Destroys the keys of expired codes. The caller holds the lock. */
export async function endInvitations(files: HandoverFiles): Promise<void> {
  const now = Date.now();
  for (const found of await files.all('code')) {
    let invitation: Invitation;
    try {
      invitation = parseInvitation(found);
    } catch {
      // A newer Holdfast wrote it, and will remove it.
      continue;
    }
    const { expiresAt, privateKey, opened } = invitation;
    if (opened !== undefined || now <= expiresAt) continue;
    if (now > expiresAt + REMEMBERED_MS) await files.remove('code', found);
    else if (privateKey !== undefined) {
      await writeInvitation(files, found, { ...invitation, privateKey: undefined });
    }
  }
}
