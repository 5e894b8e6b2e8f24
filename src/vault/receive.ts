import {
  type Credential,
  canonicalResource,
  isRenewable,
  parseCredential,
  serializeCredential,
} from '../credential.ts';
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
  RecordNewerError,
  UnsafeUrlError,
} from '../errors.ts';
import { type BlobHeader, generateHandoverKeys, openBlob, readBlob } from '../handover/blob.ts';
import { codeOf } from '../handover/code.ts';
import { fourWords } from '../handover/words.ts';
import { checkPublishedUrl } from '../http/safe-url.ts';
import { quote } from '../quote.ts';
import { Secret } from '../secret.ts';
import { type Held, type Name, nameOf } from './custody.ts';
import type { FoundHandover, HandoverFiles } from './handover-files.ts';
import { endInvitations, type Invitation, parseInvitation, writeInvitation } from './invitation.ts';
import { keep, type LoginPlace, prepareKeeping } from './keeping.ts';
import type { HandoverInvitation, InviteOptions, ReceiveOptions } from './results.ts';

/* The receiving end of a hand-over: a code, and a blob that opens here only, once, in its time. */

const DEFAULT_LIFETIME_MS = 600_000;
const LONGEST_LIFETIME_MS = 86_400_000;

/** How far the clocks of the two machines may be apart, in milliseconds. */
const CLOCK_TOLERANCE_MS = 60_000;

export interface ReceivePlace extends LoginPlace {
  readonly files: HandoverFiles;
}

/**
 * Makes a code. Where the login will go is found out before anybody carries a blob here.
 *
 * @throws what keeping a login would throw
 */
export async function invite(options: InviteOptions, place: ReceivePlace): Promise<HandoverInvitation> {
  const { lifetimeMs = DEFAULT_LIFETIME_MS } = options;
  const name = options.resource === undefined ? undefined : nameOf(options.resource, options.account);
  const expiresAt = Date.now() + lifetimeOf(lifetimeMs);
  if (name !== undefined) await prepareKeeping(place, name, options);
  const key = await place.keys.strongest();
  if (key.lifetime === 'process' && options.mustLast === true) {
    throw new KeyringAbsentError('No keyring here can keep a login, nor the key of a hand-over code.', {
      hint: 'holdfast doctor says what each keyring lacks.',
    });
  }
  const keys = await generateHandoverKeys();
  const code = codeOf(keys.publicKey);
  await place.custody.rehearse(key.lifetime);
  await place.files.exclusively(async () => {
    await endInvitations(place.files);
    await writeInvitation(
      place.files,
      { id: code.id, key },
      { resource: name?.resource, account: options.account, ...keys, expiresAt },
    );
  });
  const words = await fourWords('code', code.publicKey);
  return { code: code.text, words, resource: name?.resource, expiresAt };
}

/** How long a code, or a blob, may be good, in milliseconds: a day at most. */
export function lifetimeOf(lifetimeMs: number): number {
  if (lifetimeMs > 0 && lifetimeMs <= LONGEST_LIFETIME_MS) return Math.ceil(lifetimeMs);
  throw new InvalidArgumentError(
    'The life of a hand-over must be a positive number of milliseconds, a day at most.',
  );
}

export interface Received {
  readonly held: Held;
  readonly header: BlobHeader;
  /** Of the blob. */
  readonly words: string;
}

/** Opens the blob and keeps the login. Whatever refuses it leaves the code as it is, for the right blob. */
export async function receive(text: string, options: ReceiveOptions, place: ReceivePlace): Promise<Received> {
  const blob = readBlob(text);
  const { header } = blob;
  const held = await place.files.exclusively(async () => {
    const found = await place.files.find('code', header.to);
    if (found === undefined) throw wrongKey();
    const invitation = parseInvitation(found);
    if (invitation.opened !== undefined) return keepOpened(found, invitation, options, place);
    if (invitation.openedAt !== undefined) throw openedBefore(invitation.openedAt);
    checkExpected(header, invitation);
    checkExpected(header, options);
    const { privateKey } = invitation;
    checkInTime(header, invitation);
    if (privateKey === undefined) throw codeExpired(invitation);
    await prepareKeeping(place, claimed(header), options);
    const credential = credentialIn(await openBlob(blob, { ...invitation, privateKey }), header);
    // From here on the key is gone, and the login is here: in one step.
    const used: Invitation = {
      ...invitation,
      privateKey: undefined,
      openedAt: credential.loggedInAt,
      opened: new Secret(Buffer.from(serializeCredential(credential)).toString('utf8')),
    };
    await writeInvitation(place.files, found, used);
    return keepOpened(found, used, options, place);
  });
  return { held, header, words: await fourWords('blob', blob.digest) };
}

/** Stores what was opened: now, or by an earlier call that did not get so far. */
async function keepOpened(
  found: FoundHandover,
  invitation: Invitation,
  options: ReceiveOptions,
  place: ReceivePlace,
): Promise<Held> {
  const credential = parseCredential(Buffer.from(invitation.opened?.reveal() ?? '', 'utf8'));
  // Its moment tells it from every other login: an earlier call may have died right after it had stored it, and it may
  // have been refreshed since.
  const stored = await storedAs(credential, place);
  const held =
    stored ??
    (await keep(place, credential, options, (generation) => ({
      ...credential,
      generation,
    })));
  await writeInvitation(place.files, found, { ...invitation, opened: undefined });
  return held;
}

async function storedAs(credential: Credential, { custody }: ReceivePlace): Promise<Held | undefined> {
  try {
    const held = (await custody.find(credential))?.held;
    return held?.credential.loggedInAt === credential.loggedInAt ? held : undefined;
  } catch (error) {
    // What does not open is not it.
    if (error instanceof HoldfastError) return undefined;
    throw error;
  }
}

/** What the blob holds, if it is what the header says. Its sender is checked as a server is: it may be anybody. */
function credentialIn(plaintext: Uint8Array, header: BlobHeader): Credential {
  const refuse = (why: string) =>
    new HandoverDamagedError(`The hand-over blob opens, and was refused: ${why}.`, {
      hint: 'It was not used. Find out who sealed it.',
    });
  let credential: Credential;
  try {
    credential = parseCredential(plaintext);
  } catch (error) {
    if (error instanceof RecordNewerError) {
      throw new HandoverNewerError('The login in the blob was written by a newer Holdfast.', {
        cause: error,
        hint: 'Update Holdfast here: npm install --global holdfast@latest',
      });
    }
    throw error instanceof HoldfastError ? refuse('what it holds is no login') : error;
  }
  const { resource, account, grant, server, client, tokens, dpopKey } = credential;
  if (resource !== header.resource || account !== header.account) throw refuse('it holds another login');
  // An assertion would be read from a file or a variable of this machine, and sent to a server that the sender names.
  if (grant !== undefined) throw refuse('it holds a grant that is never handed over');
  const more = isRenewable(credential) || client.clientSecret || client.privateKey || dpopKey;
  if (header.mode === 'access-token' && more) throw refuse('it holds more than an access token');
  try {
    const at = new URL(resource);
    checkPublishedUrl(server.issuer, 'issuer', at);
    checkPublishedUrl(server.tokenEndpoint, 'token endpoint', at);
    if (server.revocationEndpoint !== undefined) {
      checkPublishedUrl(server.revocationEndpoint, 'revocation endpoint', at);
    }
  } catch (error) {
    throw error instanceof UnsafeUrlError ? refuse(error.message.replace(/\.$/, '')) : error;
  }
  return {
    ...credential,
    generation: 1,
    // The sender's boot is none of ours, and its clock is checked by the wall.
    tokens: { ...tokens, obtainedBoot: undefined },
    // When it came here: from now on it goes its own way.
    loggedInAt: Date.now(),
    received: { mode: header.mode, at: Date.now() },
    loginRequired: undefined,
  };
}

function claimed({ resource, account }: BlobHeader): Name {
  try {
    const name = nameOf(resource, account);
    if (name.resource === resource) return name;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
  }
  throw new HandoverDamagedError(`The hand-over blob is for ${quote(resource)}, which names no MCP server.`);
}

/** The resource in any spelling; the account as it is called at both ends. */
function checkExpected(
  { resource, account }: BlobHeader,
  expected: Pick<ReceiveOptions, 'resource' | 'account'>,
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

/** A header may hold any number of milliseconds, and a date has its bounds. */
function isoOf(moment: number): string {
  return new Date(Math.min(moment, 8_640_000_000_000_000)).toISOString();
}
