import { resolve } from 'node:path';
import { canonicalResource } from '../../credential.ts';
import { displayUrl } from '../../display-url.ts';
import {
  AbortedError,
  HoldfastError,
  InvalidArgumentError,
  LoginCancelledError,
  reworded,
  StorageUnwritableError,
} from '../../errors.ts';
import type { Recipient } from '../../import/recipient.ts';
import { dockerAgent } from '../../import/to-docker-agent.ts';
import { mcpRemote } from '../../import/to-mcp-remote.ts';
import { printableJson, quote } from '../../quote.ts';
import { checkCanCreate, createFile } from '../../system/files/created-file.ts';
import { shellPath } from '../../system/files/storage-error.ts';
import type { ExportedLogin } from '../../transfer/types.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { chosenStorage, timeoutMs, withVault } from '../open-vault.ts';
import { ask, canAsk } from '../output/terminal.ts';
import { isoTime, relativeTime } from '../output/words.ts';

const FORMATS = ['json', 'env', 'mcp-remote', 'docker-agent'] as const;

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', signal } = invocation;
  const resource = canonicalResource(argument);
  const mode = invocation.flag('move') ? 'move' : 'access-token';
  const format = formatOf(invocation, mode);
  if (!invocation.flag('reveal')) {
    throw new InvalidArgumentError(
      'holdfast export writes tokens in the clear, for whoever reads them to use.',
      {
        hint: 'If that is meant: --reveal. For another machine, sealed: holdfast send. For a program: holdfast run',
      },
    );
  }
  const out = invocation.text('out');
  const recipient = recipientOf(invocation, format, argument, out);
  const path = out === undefined || recipient !== undefined ? recipient?.context : resolve(out);
  if (recipient !== undefined) await recipient.check();
  else if (path !== undefined) await checkCanCreate(path);
  await confirm(invocation, resource, mode, path);
  let given: ExportedLogin | undefined;
  try {
    await withVault(invocation, (vault) =>
      vault.transfer.export(
        resource,
        defined({
          account: invocation.text('account'),
          mode,
          timeoutMs: timeoutMs(invocation),
          signal,
          deliver: async (login: ExportedLogin) => {
            if (recipient !== undefined) await recipient.put(login);
            else {
              const text = format === 'env' ? variables(login) : `${printableJson(login.json.reveal())}\n`;
              await (path === undefined ? print(invocation, text) : createFile(path, text));
            }
            given = login;
          },
        }),
      ),
    );
  } catch (error) {
    throw given === undefined ? error : withPath(error, path);
  }
  if (given !== undefined) tell(invocation, given, { mode, path, recipient });
  return EXIT.done;
}

/**
 * Adds the export's location to the error. An exported login cannot be taken back, so the user must know where it is.
 */
function withPath(error: unknown, path: string | undefined): unknown {
  if (!(error instanceof HoldfastError)) return error;
  const where = path === undefined ? 'was printed' : `is in ${shellPath(path)}`;
  return reworded(error, `${error.message} What was exported ${where}.`);
}

function formatOf(invocation: Invocation, mode: 'move' | 'access-token'): (typeof FORMATS)[number] {
  const chosen = invocation.text('format') ?? 'json';
  const format = FORMATS.find((one) => one === chosen);
  if (format === undefined) {
    throw new InvalidArgumentError(`${quote(chosen, 40)} is no format of holdfast export.`, {
      hint: `Choose one of: ${FORMATS.join(', ')}`,
    });
  }
  if (format === 'env' && mode === 'move') {
    throw new InvalidArgumentError(
      '--format env holds an access token alone, so nothing can be moved with it.',
      {
        hint: 'Leave out --move, or take --format json.',
      },
    );
  }
  return format;
}

/** The other program's own store, if the format is that of a program. */
function recipientOf(
  invocation: Invocation,
  format: (typeof FORMATS)[number],
  url: string,
  out: string | undefined,
): Recipient | undefined {
  const { environment } = invocation;
  const replace = invocation.flag('replace');
  const { store, dockerAgentDir } = chosenStorage(invocation);
  if (format === 'mcp-remote') {
    if (out !== undefined) return mcpRemote(url, resolve(out), { replace });
    throw new InvalidArgumentError('--format mcp-remote writes two files, and needs to be told where.', {
      hint: 'Name mcp-remote’s directory: --out ~/.mcp-auth/mcp-remote-v1',
    });
  }
  if (format === 'docker-agent') {
    if (out !== undefined) {
      throw new InvalidArgumentError('--out does not go with --format docker-agent.', {
        hint: 'It writes into docker-agent’s own file. If that is elsewhere: --docker-agent-dir DIR',
      });
    }
    if (store !== 'docker-agent') return dockerAgent(url, environment, { replace, dockerAgentDir });
    throw new InvalidArgumentError('The login is in docker-agent’s store already.', {
      hint: 'docker-agent reads it from there. To move one from Holdfast’s own store: --store directory',
    });
  }
  if (replace) {
    throw new InvalidArgumentError(`--replace does not go with --format ${format}.`, {
      hint: 'Name another file, or remove that one.',
    });
  }
  return undefined;
}

async function confirm(
  invocation: Invocation,
  resource: string,
  mode: 'move' | 'access-token',
  path: string | undefined,
): Promise<void> {
  const { ui, signal } = invocation;
  if (invocation.flag('yes')) return;
  if (!canAsk() || ui.json) {
    throw new InvalidArgumentError(
      'holdfast export asks before it shows a token, and here is nobody to ask.',
      {
        hint: 'If it is meant: --yes',
      },
    );
  }
  const what =
    mode === 'move'
      ? `The whole login to ${displayUrl(resource)} leaves: it is here no more afterwards`
      : `An access token of ${displayUrl(resource)} is shown, with nothing to renew it`;
  ui.say(
    `${what}. It goes ${path === undefined ? 'to this terminal, or where its output goes' : `to ${path}`}.`,
    {},
  );
  const answer = await ask('Go on? [y/N] ', signal).catch((cause: unknown) => {
    throw new AbortedError('The question was ended before it was answered; nothing was exported.', { cause });
  });
  if (!/^y(es)?$/i.test(answer.trim())) throw new LoginCancelledError('Nothing was exported.');
}

/** Output for shells and for files of variables. A value has no quotes if a shell reads it the same. */
function variables({ accessToken, resource, expiresAt }: ExportedLogin): string {
  const word = (text: string) =>
    /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [
    ['HOLDFAST_RESOURCE', resource],
    ['HOLDFAST_ACCESS_TOKEN', accessToken.reveal()],
    ['HOLDFAST_EXPIRES_AT', isoTime(expiresAt)],
  ].flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${word(value)}\n`]));
  return lines.join('');
}

/** Written before the login may leave: a closed pipe must not lose the login. */
async function print({ ui }: Invocation, text: string): Promise<void> {
  try {
    await ui.dataTaken(text.trimEnd());
  } catch (cause) {
    throw new StorageUnwritableError('Standard output took no more, so nothing was exported.', {
      cause,
      hint: 'Write a file instead: --out FILE',
    });
  }
}

function tell(
  { ui }: Invocation,
  login: ExportedLogin,
  to: { mode: string; path: string | undefined; recipient: Recipient | undefined },
): void {
  const { resource, account, expiresAt, canRefresh } = login;
  const { mode, path, recipient } = to;
  if (ui.json && path !== undefined) {
    ui.dataJson({ out: path, mode, resource, account, expiresAt: isoTime(expiresAt), canRefresh });
    return;
  }
  const where = path === undefined ? '' : ` It is in ${path}, which only you can read.`;
  const ends = expiresAt === undefined ? '' : ` It ends ${relativeTime(expiresAt, Date.now())}.`;
  if (recipient !== undefined) {
    ui.note(
      mode === 'move'
        ? `The login to ${resource} is ${recipient.title}’s now, in ${path}, and is here no more.`
        : `${recipient.title} has an access token of ${resource}, in ${path}, and nothing to renew it with.${ends}`,
    );
    return;
  }
  ui.note(
    mode === 'move'
      ? `The login to ${resource} has left this machine.${where} Whoever has it puts it in with: holdfast import -`
      : `Exported an access token of ${resource}, and nothing to renew it with.${ends}${where}`,
  );
}
