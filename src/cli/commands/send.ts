import { resolve } from 'node:path';
import { canonicalResource } from '../../credential.ts';
import { AbortedError, InvalidArgumentError } from '../../errors.ts';
import { checkCanCreate, createFile } from '../../system/files/created-file.ts';
import type { SendOptions, SendResult } from '../../transfer/types.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { timeoutMs, withVault } from '../open-vault.ts';
import { ask, canAsk } from '../output/terminal.ts';
import { isoTime, relativeTime } from '../output/words.ts';
import { loginFlow } from './login-interaction.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui, signal } = invocation;
  const resource = canonicalResource(argument);
  const to = invocation.text('to');
  if (to === undefined) {
    throw new InvalidArgumentError('holdfast send needs the code of the machine that the login goes to.', {
      hint: 'Run holdfast receive there; it shows one. Then: holdfast send URL --to CODE',
    });
  }
  const mode = modeOf(invocation);
  const out = invocation.text('out');
  const path = out === undefined ? undefined : resolve(out);
  if (path !== undefined) await checkCanCreate(path);
  const lifetime = invocation.number('lifetime', { min: 1, max: 86_400 });
  const options: SendOptions = defined({
    account: invocation.text('account'),
    to,
    mode,
    lifetimeMs: lifetime === undefined ? undefined : lifetime * 1000,
    timeoutMs: timeoutMs(invocation),
    login:
      mode === 'fresh'
        ? defined({ ...loginFlow(invocation, resource), timeoutMs: timeoutMs(invocation) })
        : undefined,
    confirm: (words: string) => confirm(invocation, words),
    signal,
  });
  const result = await withVault(invocation, (vault) => vault.transfer.send(resource, options));
  if (path !== undefined) await createFile(path, `${result.blob}\n`);
  tell(invocation, result, out);
  if (ui.json) {
    const { blob, expiresAt, tokenExpiresAt, ...rest } = result;
    const shown = { ...rest, expiresAt: isoTime(expiresAt), tokenExpiresAt: isoTime(tokenExpiresAt) };
    ui.dataJson(path === undefined ? { ...shown, blob } : { ...shown, out: path });
  } else if (path === undefined) {
    ui.dataExact(result.blob);
  }
  return EXIT.done;
}

function modeOf(invocation: Invocation): SendOptions['mode'] {
  const [fresh, move] = [invocation.flag('fresh'), invocation.flag('move')];
  if (fresh && move) {
    throw new InvalidArgumentError('--fresh and --move exclude each other.', {
      hint: 'A login that is made for the other machine, or the one that is here: name one.',
    });
  }
  return fresh ? 'fresh' : move ? 'move' : 'access-token';
}

/** Asks the user. For a program, or with --quiet, only shows the words. */
async function confirm({ ui, signal }: Invocation, words: string): Promise<boolean> {
  ui.note(`The words of the code: ${ui.style('bold', words)}`);
  if (!canAsk() || ui.json || ui.quiet) return true;
  const answer = await ask('Does holdfast receive show the same words there? [y/N] ', signal).catch(
    (cause: unknown) => {
      throw new AbortedError('The question was ended before it was answered; nothing was sent.', { cause });
    },
  );
  return /^y(es)?$/i.test(answer.trim());
}

function tell({ ui }: Invocation, result: SendResult, out: string | undefined): void {
  const { mode, resource, account, blobWords, expiresAt, tokenExpiresAt, canRefresh, again } = result;
  const now = Date.now();
  const login = `${resource}${account === 'default' ? '' : ` as ${account}`}`;
  const life =
    tokenExpiresAt === undefined
      ? 'The server did not say when it ends.'
      : `It ends ${relativeTime(tokenExpiresAt, now)}.`;
  if (mode === 'access-token') {
    ui.note(`Sealed an access token for ${login}, and nothing to renew it with. ${life}`);
  } else if (mode === 'fresh') {
    const renewal = canRefresh ? '' : ` The server gave no way to renew it. ${life}`;
    ui.note(`Sealed a new login to ${login}. Nothing of it was kept here.${renewal}`);
  } else {
    ui.note(
      `${again ? 'This login has left this machine already; here is its blob again' : 'The login has left this machine'}: ${login}.\nUntil the blob is opened there, the same command with the same code prints it again. If nobody opens it in time, log in anew.`,
    );
  }
  const where = out === undefined ? 'The blob' : `The blob, now in ${out},`;
  ui.note(
    `${where} opens where the code was shown, once, and ${untilWords(expiresAt, now)}. It is no secret.`,
  );
  ui.note(
    `The words of the blob: ${ui.style('bold', blobWords)}\nholdfast receive shows the same ones there, if it has opened this blob and no other.`,
  );
}

/** A time span, such as `for the next 9 minutes`. */
function untilWords(moment: number, now: number): string {
  return `for the next ${relativeTime(moment + 1000, now).replace(/^in (a moment)?/, '') || 'moment'}`;
}
