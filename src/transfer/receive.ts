import { type Credential, CredentialId, canonicalResource, isRenewable } from '../credential.ts';
import { parseCredential, serializeCredential } from '../credential-record.ts';
import type { StoredCredential } from '../credentials/credential-store.ts';
import {
  HandoverDamagedError,
  HandoverExpiredError,
  HandoverMismatchError,
  HandoverNewerError,
  HandoverOpenedError,
  HandoverWrongKeyError,
  HoldfastError,
  InvalidArgumentError,
  KeyringAbsentError,
  LoginCancelledError,
  RecordNewerError,
} from '../errors.ts';
import {
  type BlobHeader,
  generateHandoverKeys,
  openBlob,
  readBlob,
  type SealedBlob,
} from '../handover/blob.ts';
import { codeOf } from '../handover/code.ts';
import { fourWords } from '../handover/words.ts';
import { checkWritable, saveLogin } from '../login/save.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { acceptExternalCredential } from './accept-external.ts';
import { type ExternalContext, reachOf } from './external-reach.ts';
import { endInvitations, type Invitation, parseInvitation, writeInvitation } from './invitation.ts';
import { checkMayReplace, endsLogin, goodLogin } from './replacing.ts';
import type { HandoverFiles, SavedHandover } from './sealed-files.ts';
import type { HandoverInvitation, InviteOptions, ReceiveOffer, ReceiveOptions } from './types.ts';

/*
 * The receiving end of a hand-over: a code, and a blob that opens only here, once, before it expires.
 */

const DEFAULT_LIFETIME_MS = 600_000;
const LONGEST_LIFETIME_MS = 86_400_000;

/** Tolerated difference between the clocks of the two machines, in milliseconds. */
const CLOCK_TOLERANCE_MS = 60_000;

export interface ReceiveContext extends ExternalContext {
  readonly files: HandoverFiles;
}

/**
 * Makes a code. Checks first that a login can be saved, before anybody carries a blob here.
 *
 * @throws the errors of saving a login
 */
export async function invite(options: InviteOptions, context: ReceiveContext): Promise<HandoverInvitation> {
  const { lifetimeMs = DEFAULT_LIFETIME_MS } = options;
  const id = options.resource === undefined ? undefined : CredentialId.of(options.resource, options.account);
  const expiresAt = Date.now() + lifetimeOf(lifetimeMs);
  if (id !== undefined) await checkWritable(context, id, options);
  const key = await context.keys.strongest();
  if (key.lifetime === 'process' && options.requirePersistence === true) {
    throw new KeyringAbsentError('No keyring here can keep a login, nor the key of a hand-over code.', {
      hint: 'holdfast doctor says what each keyring lacks.',
    });
  }
  const keys = await generateHandoverKeys();
  const code = codeOf(keys.publicKey);
  await context.credentialStore.selfTest(key.lifetime);
  await context.files.exclusively(async () => {
    await endInvitations(context.files);
    await writeInvitation(
      context.files,
      { id: code.id, key },
      { resource: id?.resource, account: options.account, ...keys, expiresAt },
    );
  });
  const words = await fourWords('code', code.publicKey);
  return { code: code.text, words, resource: id?.resource, expiresAt };
}

/** Checks the lifetime of a code or a blob, in milliseconds: one day at most. */
export function lifetimeOf(lifetimeMs: number): number {
  if (lifetimeMs > 0 && lifetimeMs <= LONGEST_LIFETIME_MS) return Math.ceil(lifetimeMs);
  throw new InvalidArgumentError(
    'The life of a hand-over must be a positive number of milliseconds, a day at most.',
  );
}

export interface Received {
  readonly held: StoredCredential;
  readonly header: BlobHeader;
  /** The check words of the blob. */
  readonly words: string;
}

/**
 * Opens the blob and saves the login. A refusal leaves the code usable, for the right blob. The user compares the words
 * before the store changes.
 */
export async function receive(
  text: string,
  options: ReceiveOptions,
  context: ReceiveContext,
): Promise<Received> {
  const blob = readBlob(text);
  const { header } = blob;
  const words = await fourWords('blob', blob.digest);
  let replace = options.replace === true;
  if (options.confirm !== undefined) {
    // Ask the user without the lock, because other processes wait for it.
    const offer = await context.files.exclusively(() => offerOf(blob, options, context));
    if (offer !== undefined) {
      if (!(await options.confirm({ ...offer, words }))) throw declined();
      replace ||= offer.replaces;
    }
  }
  const held = await context.files.exclusively(async () => {
    const { found, invitation } = await invitationFor(blob, context);
    if (invitation.opened !== undefined) return keepOpened(found, invitation, options, context);
    const credential = await opened(blob, invitation, options, context);
    const id = CredentialId.ofStored(credential);
    await checkWritable(context, id, options);
    checkMayReplace(await goodLogin(id, context.credentialStore), credential, replace);
    // One write destroys the key and stores the opened login.
    const used: Invitation = {
      ...invitation,
      privateKey: undefined,
      openedAt: credential.loggedInAt,
      opened: new Secret(Buffer.from(serializeCredential(credential)).toString('utf8')),
    };
    await writeInvitation(context.files, found, used);
    return keepOpened(found, used, options, context);
  });
  return { held, header, words };
}

/** Returns the content of the blob; `undefined` if an earlier call opened it and was interrupted. */
async function offerOf(
  blob: SealedBlob,
  options: ReceiveOptions,
  context: ReceiveContext,
): Promise<Omit<ReceiveOffer, 'words'> | undefined> {
  const { invitation } = await invitationFor(blob, context);
  if (invitation.opened !== undefined) return undefined;
  const credential = await opened(blob, invitation, options, context);
  const before = await goodLogin(CredentialId.ofStored(credential), context.credentialStore);
  checkMayReplace(before, credential, true);
  const { resource, account } = credential;
  return { resource, account, mode: blob.header.mode, replaces: endsLogin(before) };
}

async function invitationFor(
  { header }: SealedBlob,
  { files }: ReceiveContext,
): Promise<{ found: SavedHandover; invitation: Invitation }> {
  const found = await files.find('code', header.to);
  if (found === undefined) throw wrongKey();
  const invitation = parseInvitation(found);
  if (invitation.opened === undefined && invitation.openedAt !== undefined) {
    throw openedBefore(invitation.openedAt);
  }
  return { found, invitation };
}

/** Returns the login in the blob if it may be stored. Changes nothing. */
async function opened(
  blob: SealedBlob,
  invitation: Invitation,
  options: ReceiveOptions,
  context: ReceiveContext,
): Promise<Credential> {
  const { header } = blob;
  checkExpected(header, invitation);
  checkExpected(header, options);
  const { privateKey } = invitation;
  checkInTime(header, invitation);
  if (privateKey === undefined) throw codeExpired(invitation);
  checkNamed(header);
  return credentialIn(await openBlob(blob, { ...invitation, privateKey }), header, context);
}

/** Stores the opened login, which this call or an interrupted earlier one opened. */
async function keepOpened(
  found: SavedHandover,
  invitation: Invitation,
  options: ReceiveOptions,
  context: ReceiveContext,
): Promise<StoredCredential> {
  const credential = parseCredential(Buffer.from(invitation.opened?.reveal() ?? '', 'utf8'));
  // `loggedInAt` identifies the login. An earlier call may have died right after it stored the login, and the login may
  // have been refreshed since.
  const stored = await storedAs(credential, context);
  const held =
    stored ??
    (await saveLogin(context, CredentialId.ofStored(credential), options, (generation) => ({
      ...credential,
      generation,
    })));
  await writeInvitation(context.files, found, { ...invitation, opened: undefined });
  return held;
}

async function storedAs(
  credential: Credential,
  { credentialStore }: ReceiveContext,
): Promise<StoredCredential | undefined> {
  try {
    const held = (await credentialStore.find(CredentialId.ofStored(credential)))?.held;
    return held?.credential.loggedInAt === credential.loggedInAt ? held : undefined;
  } catch (error) {
    // A record that does not open is not this login.
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

/**
 * Returns the credential in the blob if it matches the header. Checks it like a server's response: anybody may have
 * sent it.
 */
async function credentialIn(
  plaintext: Uint8Array,
  header: BlobHeader,
  context: ReceiveContext,
): Promise<Credential> {
  const refuse = (why: string) =>
    new HandoverDamagedError(`The hand-over blob opens, and was refused: ${why}.`, {
      hint: 'It was not used. Find out who sealed it.',
    });
  let sent: Credential;
  try {
    sent = parseCredential(plaintext);
  } catch (error) {
    if (error instanceof RecordNewerError) {
      throw new HandoverNewerError('The login in the blob was written by a newer Holdfast.', {
        cause: error,
        hint: 'Update Holdfast here, as you installed it. The blob can still be opened then.',
      });
    }
    throw error instanceof HoldfastError ? refuse('what it holds is no login') : error;
  }
  const { resource, account, client, dpopKey } = sent;
  if (resource !== header.resource || account !== header.account) throw refuse('it holds another login');
  const more = isRenewable(sent) || client.clientSecret || client.privateKey || dpopKey;
  if (header.mode === 'access-token' && more) throw refuse('it holds more than an access token');
  const reach = await reachOf(sent, context);
  const credential = await acceptExternalCredential(sent, { reach, refuse });
  // From now on it is independent of the sender's login.
  return { ...credential, received: { mode: header.mode, at: credential.loggedInAt } };
}

/** @throws HandoverDamagedError when the header's server or account cannot belong to a login */
function checkNamed({ resource, account }: BlobHeader): void {
  try {
    if (CredentialId.of(resource, account).resource === resource) return;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
  }
  throw new HandoverDamagedError(
    `The hand-over blob is for ${quote(resource)} as ${quote(account)}, which names no login to an MCP server.`,
  );
}

/** The error after the user found that the words differ. */
function declined(): LoginCancelledError {
  return new LoginCancelledError(
    'The words differ, so the blob is not the one that was sealed for this code: nothing was stored.',
    {
      hint: 'Whoever could change it on its way must not choose the login. Copy the blob by another way; the code stays good.',
    },
  );
}

/** Compares the resource in any spelling, and the account exactly. */
function checkExpected(
  { resource, account }: BlobHeader,
  expected: Pick<Invitation, 'resource' | 'account'>,
): void {
  const wanted = expected.resource && canonicalResource(expected.resource);
  const wantedAccount = expected.account;
  if (wanted !== undefined && wanted !== resource) {
    throw new HandoverMismatchError(
      `The hand-over blob is for ${quote(resource)}, and ${wanted} is waited for.`,
      { hint: `It was not opened. On the other machine: holdfast send ${wanted} --to CODE` },
    );
  }
  if (wantedAccount !== undefined && wantedAccount !== account) {
    throw new HandoverMismatchError(
      `The hand-over blob is for the account ${quote(account)}, and ${quote(wantedAccount)} is waited for.`,
      { hint: 'It was not opened. Name the same account at both ends: --account LABEL' },
    );
  }
}

function checkInTime(header: BlobHeader, invitation: Invitation): void {
  const now = Date.now();
  if (now > invitation.expiresAt) throw codeExpired(invitation);
  if (now > header.expiresAt + CLOCK_TOLERANCE_MS) {
    throw new HandoverExpiredError(
      `The hand-over blob could be opened until ${isoOf(header.expiresAt)}, and now it is ${isoOf(now)}.`,
      {
        hint: 'Seal another one: holdfast send. If that time is wrong, check the clocks of both machines: date',
      },
    );
  }
}

function codeExpired({ expiresAt }: Invitation): HandoverExpiredError {
  return new HandoverExpiredError(
    `The hand-over code that the blob was sealed for was good until ${isoOf(expiresAt)}.`,
    { hint: 'Begin anew here: holdfast receive' },
  );
}

function openedBefore(openedAt: number): HandoverOpenedError {
  return new HandoverOpenedError(
    `The hand-over code was used at ${isoOf(openedAt)}, and opens nothing a second time.`,
    { hint: 'If that was not you, log the login out. See: holdfast list' },
  );
}

function wrongKey(): HandoverWrongKeyError {
  return new HandoverWrongKeyError(
    'The hand-over blob was sealed for another code than those that were made here.',
    { hint: 'Open it where its code was shown, or begin anew here: holdfast receive' },
  );
}

/** A header may hold any number of milliseconds, but dates have limits. */
function isoOf(moment: number): string {
  return new Date(Math.min(moment, 8_640_000_000_000_000)).toISOString();
}
