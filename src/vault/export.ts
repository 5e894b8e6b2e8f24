import { type Credential, isRenewable, serializeCredential } from '../credential.ts';
import { loginCommand, notLoggedIn } from '../credentials/login-required.ts';
import type { Custody, Held, Name } from '../credentials/sealed-credential-store.ts';
import { InvalidArgumentError, StorageUnwritableError } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { ExportedLogin, ExportOptions } from './results.ts';
import { accessTokenOf, checkMovable, departing, tombstoneOf } from './transfer.ts';

/*
 * A login in the clear, for a program that takes it from a file or from its environment. A refresh token has one holder:
 * what leaves is an access token alone, or the whole login, which is then here no more.
 */

/** The documented form: a record's JSON, and this. */
export const EXPORT_FORMAT = 'holdfast-login';

/** A refresh that is under way ends first, at its own timeout at the latest, and its tokens are those that go. */
const LEASE_WAIT_MS = 100_000;

export interface ExportPlace {
  readonly custody: Custody;
  /** Has the stored login renewed where that is due. */
  readonly renew: () => Promise<unknown>;
  /** The same credential with the newest tokens that exist, for who has the lease, and for who has not. */
  readonly bringHome: (held: Held) => Promise<Held>;
  readonly newest: (held: Held) => Held;
}

export async function exportLogin(name: Name, options: ExportOptions, place: ExportPlace): Promise<void> {
  const { custody } = place;
  if (options.mode !== 'move') {
    await place.renew();
    const { credential } = place.newest(await found(custody, name));
    checkUnbound(credential);
    await options.deliver(exported(accessTokenOf(departing(credential))));
    return;
  }
  const lease = await custody.lease(await found(custody, name), {
    waitMs: LEASE_WAIT_MS,
    signal: options.signal,
  });
  try {
    const current = await place.bringHome(await found(custody, name));
    const { credential } = current;
    checkMovable(credential);
    checkUnbound(credential);
    // First out, then gone from here: whenever this ends, the login is in one place at least.
    await options.deliver(exported(departing(credential)));
    const gone = await custody.commit(current, tombstoneOf(credential, 'it was exported from this machine.'));
    if (gone === undefined) {
      throw new StorageUnwritableError(
        `Somebody logged in to ${name.resource} while the login was exported; the new login stays here.`,
        { hint: 'What was exported is the login before it, which is good where it was taken to.' },
      );
    }
    await custody.removeSpilled(gone);
  } finally {
    await lease.release();
  }
}

async function found(custody: Custody, name: Name): Promise<Held> {
  const held = (await custody.find(name))?.held;
  if (held === undefined) throw notLoggedIn(name);
  return held;
}

function exported(credential: Credential): ExportedLogin {
  const { resource, account, tokens } = credential;
  const { received: _received, imported: _imported, ...leaving } = credential;
  const plain = JSON.parse(Buffer.from(serializeCredential(leaving)).toString('utf8')) as object;
  return {
    json: new Secret(JSON.stringify({ format: EXPORT_FORMAT, ...plain }, null, 2)),
    accessToken: tokens.accessToken,
    resource,
    account,
    expiresAt: tokens.expiresAt,
    canRefresh: isRenewable(credential),
  };
}

function checkUnbound({ resource, account, tokens, dpopKey }: Credential): void {
  if (dpopKey === undefined && tokens.tokenType.toLowerCase() !== 'dpop') return;
  throw new InvalidArgumentError(
    `The login to ${resource} is bound to a key (DPoP, RFC 9449), which never leaves its machine in the clear.`,
    {
      hint: `Log in where it is needed: ${loginCommand(resource, account)}. Or hand it over sealed: holdfast send`,
    },
  );
}
