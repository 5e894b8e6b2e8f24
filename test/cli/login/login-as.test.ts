import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryHome } from '../../support/homes/home.ts';
import { answer, hostileServer } from '../../support/servers/hostile-server.ts';
import { commandLine } from '../../support/transcript.ts';

/** Runs `holdfast login` at a server that records its requests. */
async function refused(options: readonly string[], config?: unknown) {
  const server = await hostileServer({ '*': answer(404) });
  const { path, layout } = await temporaryHome();
  if (config !== undefined) {
    await mkdir(path, { mode: 0o700 });
    const text = JSON.stringify(config).replaceAll('URL', `${server.origin}/mcp`);
    await writeFile(layout.config, text, { mode: 0o600 });
  }
  const ended = await commandLine(path).run(['login', `${server.origin}/mcp`, ...options]);
  expect(server.requests).toEqual([]);
  expect(ended.out).toBe('');
  return ended;
}

describe('holdfast login with explicit options', () => {
  test.each([
    [['--client-secret-file', '/etc/hostname'], 'no --client-id says which'],
    [['--client-id', 'a', '--client-secret-file', '/nonexistent/secret'], 'is not there'],
    [['--client-id', 'a', '--client-auth', 'basic'], '--client-auth knows no "basic"'],
    [['--client-credentials', '--workload-token-file', '/etc/hostname'], 'A login has one grant'],
    [['--idp', 'https://idp.example'], 'and no ID token'],
    [['--id-token-file', '/etc/hostname'], 'An ID token needs --idp and --idp-client-id'],
    [['--lenient', 'everything'], '--lenient knows no "everything"'],
    [['--browser', '--device'], '--browser and --device exclude each other'],
  ])('refuses %j before any request', async (options, message) => {
    const { code, err } = await refused(options);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test.each([
    [{ servers: { URL: { clientSecret: 'in the clear' } } }, 'clientSecret'],
    [{ servers: { URL: { clientId: 'a', clientSecret: { env: 'ABSENT' } } } }, 'ABSENT'],
    [{ servers: 'all' }, '"servers" does not hold an object'],
  ])('refuses the settings %j before any request', async (config, message) => {
    const { code, err } = await refused([], config);
    expect(code).toBe(2);
    expect(err).toContain(message);
    expect(err).not.toContain('in the clear');
  });

  test('never prints a secret that it read', async () => {
    const server = await hostileServer({ '*': answer(404) });
    const { path } = await temporaryHome();
    await mkdir(path, { mode: 0o700 });
    const file = join(path, 'secret');
    await writeFile(file, 'hunter2-hunter2\n', { mode: 0o600 });
    const { code, out, err } = await commandLine(path).run(
      ['login', `${server.origin}/mcp`, '--client-id', 'a', '--client-secret-file', file],
      { HOLDFAST_DEBUG: '1' },
    );
    expect(code).toBe(5);
    expect(out + err).not.toContain('hunter2');
  });
});

describe('holdfast login without a user', () => {
  const NOWHERE = { BROWSER: '', DISPLAY: '', CI: '1' };

  test('ends at once with the command to run in a terminal', async () => {
    const server = await hostileServer({ '*': answer(404) });
    const { path } = await temporaryHome();
    const url = `${server.origin}/mcp`;
    const { code, err } = await commandLine(path).run(['login', url, '--account', 'work'], NOWHERE);
    expect(code).toBe(3);
    expect(err).toContain('this is a CI job, and this is no terminal');
    expect(err).toContain(`In a terminal: holdfast login ${url} --account work`);
    expect(server.requests).toEqual([]);
  });

  test('ends at once with --no-input', async () => {
    const { code, err } = await refused(['--no-input']);
    expect(code).toBe(3);
    expect(err).toContain('--no-input was given');
  });
});
