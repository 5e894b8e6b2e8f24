import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { peerHome } from '../../import/peer-home.ts';
import { temporaryHome } from '../../support/homes/home.ts';
import {
  CTRL_C,
  CTRL_Z,
  ENTER,
  HOLDFAST,
  NO_TERMINAL,
  shellWord,
  terminal,
} from '../../support/sandbox/sandbox-terminal.ts';
import { type Servers, startServers } from '../../support/servers/servers.ts';
import { commandLine } from '../../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

/** A user whose home holds that program's logins. */
async function person(id: string, options: { expiresAt?: number } = {}) {
  const peer = await peerHome(id, servers, options);
  const md5 = createHash('md5').update(servers.resource).digest('hex');
  const shown = { [peer.directory]: '~', [md5]: 'MD5' };
  const at = commandLine((await temporaryHome()).path, [servers], shown);
  const home = { HOME: peer.directory };
  return {
    peer,
    at,
    run: (args: readonly string[]) => at.run(args, home),
    told: async (args: readonly string[]) => {
      const ended = await at.run(args, home);
      for (const secret of [...Object.values(peer.login.tokens), 'other-access', 'other-refresh']) {
        // Short values, such as the scope and the token type, are not secret.
        if (String(secret).length > 11) expect(`${ended.out}${ended.err}`).not.toContain(secret);
      }
      return at.transcript(ended);
    },
  };
}

describe('holdfast import --list', () => {
  test('lists the logins of a program without secrets, and changes nothing', async () => {
    const { peer, told } = await person('mcp-remote');
    const before = await peer.files();
    expect(await told(['import', 'mcp-remote', '--list', '--url', servers.resource])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      FROM        SERVER                      EXPIRES        REFRESH  FILE
      mcp-remote  http://127.0.0.1:MCP-1/mcp  in NN minutes  yes      ~/.mcp-auth/mcp-remote-v1/MD5_tokens.json"
    `);
    expect(await peer.files()).toEqual(before);
  });

  test('looks at all programs when none is named', async () => {
    const { run, peer } = await person('codex');
    const { code, out } = await run(['import', '--list', '--json']);
    expect(code).toBe(0);
    const { logins, skipped } = JSON.parse(out);
    expect(skipped).toEqual([]);
    expect(logins).toHaveLength(2);
    expect(logins[0]).toMatchObject({
      peer: 'codex',
      name: 'notion|0123456789abcdef',
      resource: servers.resource,
      canRefresh: true,
      clientId: peer.login.client.client_id,
      file: join(peer.directory, '.codex', '.credentials.json'),
    });
    expect(out).not.toContain(peer.login.tokens.access_token);
    expect(out).not.toContain(peer.login.tokens.refresh_token);
  });
});

describe('holdfast import', () => {
  test('moves nothing without --yes', async () => {
    const { peer, told } = await person('codex');
    const before = await peer.files();
    expect(await told(['import', 'codex', '--url', servers.resource])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: To import moves 1 login of Codex: the tokens are taken out of its file, because two holders of one refresh token log each other out.
        If that is meant: --yes. To leave them there: --access-token-only. To look only: --list"
    `);
    expect(await peer.files()).toEqual(before);
  });

  test('moves the login, which then works here, and names the file that no longer has it', async () => {
    const { peer, told, run } = await person('opencode', { expiresAt: Date.now() - 1000 });
    const args = ['import', 'opencode', '--yes', '--url', servers.resource, '--issuer', servers.issuer];
    expect(await told(args)).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Moved the login to http://127.0.0.1:MCP-1/mcp from opencode. ~/.local/share/opencode/mcp-auth.json has it no more.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    const { code, out } = await run(['token', servers.resource]);
    expect(code).toBe(0);
    expect(out.trim().length).toBeGreaterThan(20);
    expect(out.trim()).not.toBe(peer.login.tokens.access_token);
    expect(await told(args)).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      opencode, "notion": left out; nobody is logged in there.
      error: opencode has no login to http://127.0.0.1:MCP-1/mcp that could be imported. 1 entry was left out.
        Looked in ~/.local/share/opencode/mcp-auth.json. If it keeps them elsewhere: --file FILE. Or log in here: holdfast login URL"
    `);
  });

  test('takes only the access token with --access-token-only', async () => {
    const { peer, told, run } = await person('claude-code');
    const before = await peer.files();
    const args = ['import', 'claude-code', '--access-token-only', '--url', servers.resource];
    expect(await told(args)).toMatchInlineSnapshot(`
      "exit 0
      --- stderr
      Took the access token of http://127.0.0.1:MCP-1/mcp from Claude Code, and nothing to renew it with. It ends in NN minutes.
      Sealed under a key in the file keyring.
        secret-service was passed over: The Secret Service is not reachable: there is no D-Bus session bus here."
    `);
    expect(await peer.files()).toEqual(before);
    expect((await run(['token', servers.resource])).out.trim()).toBe(peer.login.tokens.access_token);
  });

  test('moves the other logins when one cannot be moved, and names that one', async () => {
    const { run, peer } = await person('codex');
    const text = JSON.stringify({
      'gone|1': {
        server_name: 'gone',
        server_url: 'http://127.0.0.1:1/mcp',
        access_token: 'x',
        client_id: 'y',
        refresh_token: 'z',
      },
      ...JSON.parse((await peer.files())['.codex/.credentials.json'] ?? ''),
    });
    await writeFile(join(peer.directory, '.codex', '.credentials.json'), text);
    const urls = [servers.resource, 'http://127.0.0.1:1/mcp'].flatMap((url) => ['--url', url]);
    const { code, out, err } = await run([
      'import',
      'codex',
      '--yes',
      '--json',
      '--issuer',
      servers.issuer,
      ...urls,
    ]);
    expect(code).toBe(5);
    expect(JSON.parse(err.trim().split('\n').at(-1) ?? '')).toMatchObject({ error: { code: 'network' } });
    expect(JSON.parse(out)).toMatchObject({
      imported: [{ resource: servers.resource, outcome: 'moved', credential: { canRefresh: true } }],
    });
    const left = (await peer.files())['.codex/.credentials.json'] ?? '';
    expect(Object.keys(JSON.parse(left))).toEqual(['gone|1', 'other|fedcba9876543210']);
  });

  test('refuses unusable arguments before it touches anything', async () => {
    const { told } = await person('codex');
    expect(await told(['import'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: holdfast import needs the name of a program.
        One of: mcp-remote, claude-code, codex, gemini, opencode, goose, cline, mcporter, inspector, docker-agent. What is there shows: holdfast import --list"
    `);
    expect(await told(['import', 'netscape'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: "netscape" is no program whose logins Holdfast can import.
        Choose one of: mcp-remote, claude-code, codex, gemini, opencode, goose, cline, mcporter, inspector, docker-agent; or - for what holdfast export printed"
    `);
    expect(await told(['import', 'gemini', '--yes'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: Gemini CLI has no login that could be imported.
        Looked in ~/.gemini/mcp-oauth-tokens.json, ~/.gemini/gemini-credentials.json, 'Secret Service: gemini-cli-oauth (there is no Secret Service here)'. If it keeps them elsewhere: --file FILE. Or log in here: holdfast login URL"
    `);
    expect(await told(['import', 'codex', '--file', '/nonexistent/file', '--yes'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: There is no /nonexistent/file.
        Check the path after --file."
    `);
    expect(await told(['import', 'codex', '--url', 'mcp.example.com', '--yes'])).toMatchInlineSnapshot(`
      "exit 2
      --- stderr
      error: "mcp.example.com" is not a URL.
        Give the whole URL of the MCP server, such as https://mcp.example.com/mcp"
    `);
  });
});

describe.skipIf(NO_TERMINAL !== undefined)('holdfast import on a terminal', () => {
  test('says what will happen, and moves nothing unless the answer is yes', async () => {
    const { peer, at } = await person('mcporter');
    const before = await peer.files();
    const command = `${HOLDFAST} import mcporter --url ${servers.resource}`;
    const variables = { HOME: peer.directory, HOLDFAST_HOME: at.home };
    const refused = terminal(command, variables);
    await refused.shows('Move? [y/N]');
    expect(refused.shown()).toContain('no copy of them is kept there');
    expect(refused.shown()).toContain(servers.resource);
    refused.type(ENTER);
    expect(await refused.ended).toBe(130);
    expect(refused.shown()).toContain('Nothing was moved.');
    expect(await peer.files()).toEqual(before);

    const agreed = terminal(command, variables);
    await agreed.shows('Move? [y/N]');
    agreed.type(`y${ENTER}`);
    expect(await agreed.ended).toBe(0);
    expect(agreed.shown()).toContain('Moved the login to');
    expect(Object.values(await peer.files()).join()).not.toContain(peer.login.tokens.refresh_token);
  });

  test.each([
    ['an answer', `y${ENTER}`, 0, 'Moved the login to'],
    ['Ctrl-C', CTRL_C, 130, 'Interrupted.'],
  ])('accepts %s after Ctrl-Z and fg', async (_what, typed, code, shown) => {
    const { peer, at } = await person('mcporter');
    const command = `${HOLDFAST} import mcporter --url ${servers.resource}`;
    // As at a prompt: the shell gets the terminal when the job stops, and `fg` returns it.
    const shell = `bash --norc -ic ${shellWord(`${command}; echo stopped=$?; fg; exit $?`)}`;
    const session = terminal(shell, { HOME: peer.directory, HOLDFAST_HOME: at.home });
    await session.shows('Move? [y/N]');
    session.type(CTRL_Z);
    await session.shows('stopped=148');
    // The prompt appears again, so that the user sees what Holdfast waits for.
    await session.shows('Move? [y/N]', session.shown().indexOf('stopped=148'));
    session.type(typed);
    expect(await session.ended).toBe(code);
    expect(session.shown()).toContain(shown);
  });
});
