import { canonicalResource } from '../../credential.ts';
import { loginCommand } from '../../credentials/login-required.ts';
import { displayUrl } from '../../display-url.ts';
import { AbortedError, HandoverExpiredError, HoldfastError, InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import type {
  HandoverInvitation,
  ReceiveOffer,
  ReceiveOptions,
  ReceiveResult,
} from '../../transfer/types.ts';
import { defined } from '../../values/defined.ts';
import type { Vault } from '../../vault/vault.ts';
import { type Ask, blobsFrom, readBlobFile } from '../blob-input.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';
import { credentialJson } from '../output/credential-json.ts';
import { tellKeyring } from '../output/kept-where.ts';
import { ask, canAsk, qrCode } from '../output/terminal.ts';
import type { Ui } from '../output/ui.ts';
import { isoTime, relativeTime } from '../output/words.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument, ui, signal } = invocation;
  const resource = argument === undefined ? undefined : canonicalResource(argument);
  const account = invocation.text('account');
  const [later, blob, file] = [invocation.flag('later'), invocation.text('blob'), invocation.text('file')];
  const ways = [later && '--later', blob !== undefined && '--blob', file !== undefined && '--file'];
  const [first, second] = ways.filter((way) => way !== false);
  if (second !== undefined) {
    throw new InvalidArgumentError(`${first} and ${second} exclude each other.`, {
      hint: 'See: holdfast receive --help',
    });
  }
  const requirePersistence = later || !invocation.flag('allow-memory');
  const isAsked = canAsk() && !ui.json && !ui.quiet;
  let reader: Ask = (question) => ask(question, signal);
  const options: ReceiveOptions = defined({
    resource,
    account,
    requirePersistence,
    replace: invocation.flag('replace'),
    confirm: isAsked ? (offer: ReceiveOffer) => confirm(invocation, offer, reader) : undefined,
  });
  if (blob !== undefined) {
    const text = blob === '-' ? await oneFromStdin(ui, signal) : await readBlobFile(blob, '--blob');
    if (text === undefined) throw noFile(blob);
    const result = await withVault(invocation, (vault) => vault.transfer.receive(text, options));
    await tellResult(invocation, result, isAsked);
    return EXIT.done;
  }
  await withVault(invocation, async (vault) => {
    const invitation = await vault.transfer.invite(
      defined({ ...options, lifetimeMs: timeoutMs(invocation) }),
    );
    if (later) {
      leaveCode(invocation, invitation);
      return;
    }
    await showCode(invocation, invitation, file);
    const over = AbortSignal.timeout(Math.max(0, invitation.expiresAt - Date.now()));
    const source = { file, signal, over };
    const blobs = blobsFrom({ ...source, onReader: (askThere) => (reader = askThere) });
    const result = await firstThatOpens(invocation, vault, blobs, { ...options, over, invitation, file });
    await tellResult(invocation, result, isAsked);
  });
  return EXIT.done;
}

function noFile(path: string): InvalidArgumentError {
  return new InvalidArgumentError(`--blob names ${shellPath(path)}, which is not there.`, {
    hint: 'Name the file that holds the blob; to wait for one: --file FILE',
  });
}

/** Asks, before anything is stored, whether the blob is the sender's and whether to replace the existing login. */
async function confirm({ ui }: Invocation, offer: ReceiveOffer, askThere: Ask): Promise<boolean> {
  const { resource, account, words, replaces } = offer;
  const login = `${ui.style('bold', displayUrl(resource))}${account === 'default' ? '' : ` as ${quote(account, 128)}`}`;
  ui.say(
    `The blob holds a login to ${login}.${replaces ? ` ${ui.style('yellow', 'It replaces the one that is here')}, which can be refreshed.` : ''}
The words of the blob: ${ui.style('bold', words)}`,
    {},
  );
  for (;;) {
    const answer = await askThere(
      `Does holdfast send show the same words there?${replaces ? ' Then the login here is replaced.' : ''} [y/n] `,
    ).catch((cause: unknown) => {
      throw new AbortedError('The question was ended before it was answered; nothing was stored.', { cause });
    });
    // The line break after a pasted blob is not an answer.
    if (/^(y(es)?|no?)$/i.test(answer.trim())) return /^y/i.test(answer.trim());
  }
}

/** The first blob that opens. A user or a changing file may try again until the code expires. */
async function firstThatOpens(
  { ui }: Invocation,
  vault: Vault,
  blobs: AsyncIterable<string>,
  waiting: ReceiveOptions & {
    readonly over: AbortSignal;
    readonly invitation: HandoverInvitation;
    readonly file: string | undefined;
  },
): Promise<ReceiveResult> {
  const { over, invitation, file, ...options } = waiting;
  let problem: HoldfastError | undefined;
  for await (const text of blobs) {
    try {
      return await vault.transfer.receive(text, options);
    } catch (error) {
      const refused = error instanceof HoldfastError && error.code.startsWith('handover-');
      if (!refused || (file === undefined && !canAsk())) throw error;
      problem = error;
      ui.warn(error.message, error.hint);
      ui.note(
        file === undefined ? 'Paste the right one, then press Enter.' : `Waiting for another one in ${file}.`,
      );
    }
  }
  if (problem !== undefined) throw problem;
  if (over.aborted) {
    throw new HandoverExpiredError('No blob came before the hand-over code ran out.', {
      hint: 'Begin anew, with more time if need be: holdfast receive --timeout 3600',
    });
  }
  throw new InvalidArgumentError('Standard input ended before a blob came.', {
    hint: `The code stays good ${forWords(invitation.expiresAt)}: holdfast receive --blob FILE`,
  });
}

async function oneFromStdin(ui: Ui, signal: AbortSignal): Promise<string> {
  if (canAsk()) ui.note('Paste the blob, then press Enter.');
  for await (const text of blobsFrom({ signal })) return text;
  throw new InvalidArgumentError('There is no blob on standard input.', {
    hint: 'Pipe it in: … | holdfast receive --blob -',
  });
}

/** Shows the code to a user who carries it by hand, or to a reader of standard error. */
async function showCode(
  { ui }: Invocation,
  invitation: HandoverInvitation,
  file: string | undefined,
): Promise<void> {
  const { code, words, resource, expiresAt } = invitation;
  const picture = canAsk() && !ui.json && !ui.quiet ? await qrCode(code) : undefined;
  if (picture !== undefined) ui.note(picture);
  const bring =
    file === undefined ? 'Paste what it prints here, then press Enter.' : `Put what it prints into ${file}.`;
  ui.say(
    [
      `The code of this hand-over, good ${forWords(expiresAt)}:\n\n  ${ui.style('bold', code)}\n`,
      `Its words: ${ui.style('bold', words)}\n`,
      `On the machine that has the login:\n\n  ${sendCommand(code, resource)}\n`,
      `It shows the same words, if the code came over unchanged. ${bring}`,
    ].join('\n'),
    { handover: { code, words, resource, expiresAt: isoTime(expiresAt) } },
  );
}

/** Prints the code on standard output, for scripts. */
function leaveCode(
  { ui, argument }: Invocation,
  { code, words, resource, expiresAt }: HandoverInvitation,
): void {
  if (ui.json) ui.dataJson({ code, words, resource, expiresAt: isoTime(expiresAt) });
  else ui.data(code);
  ui.note(`The words of this code: ${ui.style('bold', words)}`);
  ui.note(
    `It is good ${forWords(expiresAt)}. On the machine that has the login: ${sendCommand('CODE', resource)}\nThen here: holdfast receive${argument === undefined ? '' : ` ${resource}`} --blob FILE`,
  );
}

function sendCommand(code: string, resource: string | undefined): string {
  return `holdfast send ${resource === undefined ? 'URL' : displayUrl(resource)} --to ${code}`;
}

function forWords(moment: number): string {
  // Adds a second, so that a new code of ten minutes does not show nine.
  return relativeTime(moment + 1000, Date.now()).replace(/^in /, 'for ');
}

async function tellResult(
  { ui, environment }: Invocation,
  result: ReceiveResult,
  isCompared: boolean,
): Promise<void> {
  const { credential, mode, blobWords } = result;
  if (ui.json) {
    ui.dataJson({ ...result, credential: credentialJson(credential) });
    return;
  }
  const { resource, account, expiresAt, canRefresh } = credential;
  const ends = expiresAt === undefined ? undefined : relativeTime(expiresAt, Date.now());
  ui.note(
    `${ui.style('green', 'Received')} the login to ${ui.style('bold', resource)}${account === 'default' ? '' : ` as ${account}`}.`,
  );
  if (mode === 'access-token') {
    ui.note(
      `It is an access token alone, and nothing here can renew it.${ends === undefined ? '' : ` It ends ${ends}.`} After that: another hand-over, or ${loginCommand(resource, account)}`,
    );
  } else if (ends !== undefined) {
    ui.note(
      `The access token expires ${ends}, ${canRefresh ? 'and is refreshed by itself' : 'and the server gave no way to refresh it'}.`,
    );
  }
  if (!isCompared)
    ui.note(
      `The words of the blob: ${ui.style('bold', blobWords)}\nIf holdfast send showed other ones, somebody has put another login in its place: holdfast logout ${resource}`,
    );
  await tellKeyring({ ui, environment }, result);
}
