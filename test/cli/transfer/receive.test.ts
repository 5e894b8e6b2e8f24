import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeIn, fileWith, withoutSecrets } from '../../support/homes/handover.ts';
import { temporaryDirectory, temporaryHome } from '../../support/homes/home.ts';
import { start, TYPESCRIPT } from '../../support/processes/process.ts';
import {
  CTRL_C,
  CTRL_D,
  ENTER,
  HOLDFAST,
  NO_TERMINAL,
  terminal,
} from '../../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../../support/transcript.ts';

const BIN = fileURLToPath(new URL('../../../src/cli/bin.ts', import.meta.url));

let servers: Servers;
let laptop: CommandLine;
beforeAll(async () => {
  servers = await startServers();
  laptop = commandLine(join(await mkdtemp(join(tmpdir(), 'holdfast-test-')), 'home'), [servers]);
  await laptop.run(['login', servers.resource]);
});
afterAll(async () => {
  await Promise.all([servers.stop(), rm(join(laptop.home, '..'), { recursive: true })]);
});

async function sandbox(): Promise<CommandLine> {
  return commandLine((await temporaryHome()).path, [servers]);
}

async function blobFor(code: string, ...options: string[]): Promise<string> {
  return (await laptop.run(['send', servers.resource, '--to', code, ...options])).out;
}

async function told(at: CommandLine, args: readonly string[]): Promise<string> {
  return withoutSecrets(await at.told(args));
}

describe('holdfast receive --later', () => {
  test('prints only the code on standard output, and --blob opens what was sealed to it', async () => {
    const at = await sandbox();
    const ended = await at.run(['receive', servers.resource, '--later']);
    expect(withoutSecrets(at.transcript(ended))).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      CODE
      --- stderr
      The words of this code: WORDS
      It is good for NN minutes. On the machine that has the login: holdfast send http://127.0.0.1:MCP-1/mcp --to CODE
      Then here: holdfast receive http://127.0.0.1:MCP-1/mcp --blob FILE"
    `);
    const blob = await fileWith(await blobFor(codeIn(ended.out)));
    expect(await told(at, ['receive', '--blob', blob])).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Received the login to http://127.0.0.1:MCP-1/mcp.
      It is an access token alone, and nothing here can renew it. It ends in NN minutes. After that: another hand-over, or holdfast login http://127.0.0.1:MCP-1/mcp
      The words of the blob: WORDS
      If holdfast send showed other ones, somebody has put another login in its place: holdfast logout http://127.0.0.1:MCP-1/mcp
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect((await at.run(['token', servers.resource])).out).toBe(
      (await laptop.run(['token', servers.resource])).out,
    );
    expect(await told(at, ['receive', '--blob', blob])).toMatchInlineSnapshot(`
      "exit 1
      --- stderr
      error: The hand-over code was used at TIME, and opens nothing a second time.
        If that was not you, log the login out. See: holdfast list"
    `);
  });

  test('reads the blob from standard input, through a pipe', async () => {
    const at = await sandbox();
    const code = codeIn((await at.run(['receive', '--later', '--quiet'])).out);
    const blob = await fileWith(await blobFor(code));
    const { out } = await start(
      'sh',
      [
        '-c',
        '"$@" < "$BLOB"',
        'sh',
        process.execPath,
        ...TYPESCRIPT,
        BIN,
        'receive',
        '--blob',
        '-',
        '--json',
      ],
      { HOME: '/nonexistent', HOLDFAST_HOME: at.home, BLOB: blob },
    ).ended;
    expect(JSON.parse(out)).toMatchObject({
      mode: 'access-token',
      credential: { resource: servers.resource, state: 'fresh', canRefresh: false },
    });
  });
});

describe('holdfast receive', () => {
  test('waits until the file holds the right blob, after wrong and cut ones', async () => {
    const at = await sandbox();
    const file = join(await temporaryDirectory(), 'blob');
    const running = at.start(['receive', servers.resource, '--file', file]);
    await running.says('Put what it prints into');
    const blob = await blobFor(codeIn(running.said().err));
    const elsewhere = codeIn((await (await sandbox()).run(['receive', '--later'])).out);
    await writeFile(file, await blobFor(elsewhere));
    await running.says('Waiting for another one');
    await writeFile(file, blob.slice(0, 200));
    await writeFile(file, blob);
    expect(
      withoutSecrets(at.transcript(await running.ended)).replaceAll(file, '$FILE'),
    ).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      The code of this hand-over, good for NN minutes:

        CODE

      Its words: WORDS

      On the machine that has the login:

        holdfast send http://127.0.0.1:MCP-1/mcp --to CODE

      It shows the same words, if the code came over unchanged. Put what it prints into $FILE.
      warning: The hand-over blob was sealed for another code than those that were made here.
        Open it where its code was shown, or begin anew here: holdfast receive
      Waiting for another one in $FILE.
      Received the login to http://127.0.0.1:MCP-1/mcp.
      It is an access token alone, and nothing here can renew it. It ends in NN minutes. After that: another hand-over, or holdfast login http://127.0.0.1:MCP-1/mcp
      The words of the blob: WORDS
      If holdfast send showed other ones, somebody has put another login in its place: holdfast logout http://127.0.0.1:MCP-1/mcp
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
  });

  test('ends when standard input ends or the code expires', async () => {
    const at = await sandbox();
    expect(await told(at, ['receive', '--json'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      {"handover":{"code":"CODE","words":"WORDS","expiresAt":"TIME"}}
      {"error":{"code":"invalid-argument","message":"Standard input ended before a blob came.","hint":"The code stays good for NN minutes: holdfast receive --blob FILE","retryable":false}}"
    `);
    const file = join(await temporaryDirectory(), 'blob');
    const { code, err } = await at.run(['receive', '--timeout', '1', '--file', file]);
    expect(code).toBe(1);
    expect(err).toContain('error: No blob came before the hand-over code ran out.');
  });

  test('refuses a wrong, cut or altered blob, each with its reason', async () => {
    const at = await sandbox();
    const code = codeIn((await at.run(['receive', '--later'])).out);
    const blob = await blobFor(code);
    const attempts: [string[], string][] = [
      [['https://mcp.example.com/mcp'], blob],
      [['--account', 'work'], blob],
      [[], blob.slice(0, 400)],
      [[], blob.replace(/\n[\w.-]+\n/, '\n')],
      [[], 'hello'],
    ];
    const said: string[] = [];
    for (const [options, text] of attempts) {
      said.push(await told(at, ['receive', ...options, '--blob', await fileWith(text)]));
    }
    const stranger = await sandbox();
    said.push(await told(stranger, ['receive', '--blob', await fileWith(blob)]));
    said.push(await told(at, ['receive', '--blob', '/nonexistent']));
    said.push(await told(at, ['receive', '--blob', 'x', '--later']));
    expect(said.join('\n')).toMatchInlineSnapshot(`
      "exit 1
      --- stderr
      error: The hand-over blob is for "http://127.0.0.1:MCP-1/mcp", and https://mcp.example.com/mcp is waited for.
        It was not opened. On the other machine: holdfast send https://mcp.example.com/mcp --to CODE
      exit 1
      --- stderr
      error: The hand-over blob is for the account "default", and "work" is waited for.
        It was not opened. Name the same account at both ends: --account LABEL
      exit 1
      --- stderr
      error: The hand-over blob cannot be read: it was cut: the line -----END HOLDFAST HAND-OVER----- is missing.
        Copy all of it, from its first line to its last. It can still be opened.
      exit 1
      --- stderr
      error: The hand-over blob cannot be read: its header is not JSON.
        Copy all of it, from its first line to its last. It can still be opened.
      exit 1
      --- stderr
      error: The hand-over blob cannot be read: the line -----BEGIN HOLDFAST HAND-OVER----- is missing.
        Copy all of it, from its first line to its last. It can still be opened.
      exit 1
      --- stderr
      error: The hand-over blob was sealed for another code than those that were made here.
        Open it where its code was shown, or begin anew here: holdfast receive
      exit 2
      --- stderr
      error: --blob names /nonexistent, which is not there.
        Name the file that holds the blob; to wait for one: --file FILE
      exit 2
      --- stderr
      error: --later and --blob exclude each other.
        See: holdfast receive --help"
    `);
    expect((await at.run(['receive', '--blob', await fileWith(blob)])).code).toBe(0);
  });

  test('shows no code when nothing can be saved', async () => {
    const at = await sandbox();
    expect(await told(at, ['receive', '--keyring', 'memory', '--later'])).toMatchInlineSnapshot(`
      "exit 4
      --- stderr
      error: No keyring here can keep a login, nor the key of a hand-over code.
        holdfast doctor says what each keyring lacks."
    `);
  });
});

describe('receiving over a login that can be refreshed', () => {
  test('replaces it only with --replace, and never by an access token; the blob stays valid', async () => {
    const at = await sandbox();
    const sent = async (...options: string[]) => {
      const code = codeIn((await at.run(['receive', '--later'])).out);
      return fileWith(await blobFor(code, ...options));
    };
    expect((await at.run(['receive', '--blob', await sent('--fresh')])).code).toBe(0);
    const before = (await at.run(['token', servers.resource])).out;
    const token = await sent();
    for (const options of [[], ['--replace']]) {
      const { code, err } = await at.run(['receive', '--blob', token, ...options]);
      expect(code).toBe(2);
      expect(err).toContain('an access token alone never replaces one');
    }
    const whole = await sent('--fresh');
    expect(await told(at, ['receive', '--blob', whole])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: There is a login to http://127.0.0.1:MCP-1/mcp here already, and it was left as it is.
        Give the other one a name of its own: --account LABEL. Or put it in the place of this one: --replace"
    `);
    expect((await at.run(['token', servers.resource])).out).toBe(before);
    expect((await at.run(['receive', '--blob', whole, '--replace'])).code).toBe(0);
    expect((await at.run(['token', servers.resource])).out).not.toBe(before);
  });
});

describe.skipIf(NO_TERMINAL !== undefined)('holdfast receive on a terminal', () => {
  const on = (at: CommandLine, command: string, options?: { columns: number }) =>
    terminal(`${HOLDFAST} ${command}`, { HOME: '/nonexistent', HOLDFAST_HOME: at.home }, options);

  test('shows a QR code and takes a pasted blob: first cut, then whole and in one line', async () => {
    const at = await sandbox();
    const receiving = on(at, `receive ${servers.resource}`);
    await receiving.shows('then press Enter.');
    expect(receiving.shown()).toContain('█▀▀▀▀▀▀▀█');
    const blob = await blobFor(codeIn(receiving.shown()), '--fresh');
    receiving.type(`${blob.slice(0, 400)}${ENTER}${ENTER}`);
    await receiving.shows('it was cut: the line -----END HOLDFAST HAND-OVER----- is missing');
    await receiving.shows('Paste the right one');
    receiving.type(`${blob.replaceAll('\n', '')}${ENTER}`);
    await receiving.shows('Does holdfast send show the same words there? [y/n]');
    expect((await at.run(['token', servers.resource])).code).toBe(3);
    // The line break after a paste does not answer the question.
    const asked = receiving.shown().length;
    receiving.type(ENTER);
    await receiving.shows('the same words there? [y/n]', asked);
    receiving.type(`y${ENTER}`);
    expect(await receiving.ended).toBe(0);
    expect(receiving.shown()).toContain(`Received the login to ${servers.resource}.`);
    expect(receiving.shown()).toContain('and is refreshed by itself');
    expect((await at.run(['token', servers.resource])).code).toBe(0);
  });

  test('stores nothing when the words differ, and asks before it replaces a login', async () => {
    const at = await sandbox();
    const first = await fileWith(
      await blobFor(codeIn((await at.run(['receive', '--later'])).out), '--fresh'),
    );
    expect((await at.run(['receive', '--blob', first])).code).toBe(0);
    const before = (await at.run(['token', servers.resource])).out;
    const second = await fileWith(
      await blobFor(codeIn((await at.run(['receive', '--later'])).out), '--fresh'),
    );
    for (const [answer, code] of [
      ['n', 130],
      ['y', 0],
    ] as const) {
      const receiving = on(at, `receive --blob ${second}`);
      await receiving.shows('Then the login here is replaced. [y/n]');
      expect(receiving.shown()).toContain('It replaces the one that is here, which can be refreshed.');
      expect((await at.run(['token', servers.resource])).out).toBe(before);
      receiving.type(`${answer}${ENTER}`);
      expect(await receiving.ended).toBe(code);
    }
    expect((await at.run(['token', servers.resource])).out).not.toBe(before);
  });

  test('keeps the code valid when it is interrupted', async () => {
    const at = await sandbox();
    const receiving = on(at, 'receive', { columns: 20 });
    await receiving.shows('then press Enter.');
    expect(receiving.shown()).not.toContain('█');
    receiving.type(CTRL_C);
    expect(await receiving.ended).toBe(130);
    const blob = await fileWith(await blobFor(codeIn(receiving.shown())));
    expect((await at.run(['receive', '--blob', blob])).code).toBe(0);
  });

  test('asks the sender whether the words match, and sends nothing otherwise', async () => {
    const at = await sandbox();
    const { out, err } = await at.run(['receive', '--later']);
    const words = /words of this code: (.*)/.exec(err)?.[1];
    const send = `send ${servers.resource} --to ${codeIn(out)}`;
    for (const [answer, code] of [
      [`n${ENTER}`, 130],
      [ENTER, 130],
      [CTRL_C, 130],
      [CTRL_D, 130],
      [`y${ENTER}`, 0],
    ] as const) {
      const sending = on(laptop, send);
      await sending.shows('[y/N]');
      expect(sending.shown()).toContain(`The words of the code: ${words}\n`);
      expect(sending.shown()).not.toContain('BEGIN');
      sending.type(answer);
      expect(await sending.ended).toBe(code);
      expect(sending.shown().includes('-----END HOLDFAST HAND-OVER-----')).toBe(code === 0);
    }
  });
});
