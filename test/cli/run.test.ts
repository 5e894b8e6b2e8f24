import { describe, expect, test } from 'vitest';
import { temporaryHome } from '../support/homes/home.ts';
import { seededHome } from '../support/homes/seeded-home.ts';
import { holdfast } from '../support/processes/process.ts';

/** Runs `holdfast run` in a home with one login; the command is a Node script. */
async function running(options: readonly string[], program: string, variables: Record<string, string> = {}) {
  const { path, resource, token } = await seededHome();
  const child = holdfast(['run', resource, ...options, '--', process.execPath, '-e', program], {
    HOLDFAST_HOME: path,
    ...variables,
  });
  return { child, token };
}

const PRINT_ENVIRONMENT = 'process.stdout.write(JSON.stringify(process.env))';

describe('holdfast run', () => {
  test('gives the command only the access token in its environment', async () => {
    const { child, token } = await running([], PRINT_ENVIRONMENT, { MINE: 'kept' });
    const { code, out, err } = await child.ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(JSON.parse(out)).toMatchObject({ HOLDFAST_ACCESS_TOKEN: token, MINE: 'kept' });
    expect(out).not.toContain('the-refresh-token');
  });

  test('names the variable as the option says', async () => {
    const { child, token } = await running(['--as', 'MCP_TOKEN'], PRINT_ENVIRONMENT);
    const variables = JSON.parse((await child.ended).out) as Record<string, string>;
    expect(variables['MCP_TOKEN']).toBe(token);
    expect(variables).not.toHaveProperty('HOLDFAST_ACCESS_TOKEN');
  });

  test('hides the client secret from the command', async () => {
    const { child } = await running([], PRINT_ENVIRONMENT, { HOLDFAST_CLIENT_SECRET: 'not for them' });
    expect((await child.ended).out).not.toContain('not for them');
  });

  test.each([0, 1, 42, 255])('exits with the exit code %i of its command', async (wanted) => {
    const { child } = await running([], `process.exit(${wanted})`);
    expect((await child.ended).code).toBe(wanted);
  });

  test.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
    'forwards %s and lets the command decide how to end',
    async (signal) => {
      const { child } = await running(
        [],
        `process.on('${signal}', () => { console.log('heard'); process.exit(7); }); setInterval(() => {}, 1000); console.log('ready')`,
      );
      await child.says('ready');
      child.kill(signal);
      expect(await child.ended).toEqual({ code: 7, out: 'ready\nheard\n', err: '' });
    },
  );

  test('tells by its exit code which signal ended the command', async () => {
    const { child } = await running([], "process.kill(process.pid, 'SIGKILL')");
    expect((await child.ended).code).toBe(128 + 9);
  });

  test('leaves the options of the command to the command', async () => {
    const { path, resource } = await seededHome();
    const args = [
      'run',
      resource,
      '--',
      process.execPath,
      '-p',
      'process.argv.slice(1).join()',
      '--',
      '--json',
      '--as',
    ];
    expect(await holdfast(args, { HOLDFAST_HOME: path }).ended).toEqual({
      code: 0,
      out: '--json,--as\n',
      err: '',
    });
  });

  test.each([
    [['run', 'https://mcp.example.com/mcp'], 'needs a COMMAND after --'],
    [
      ['run', 'https://mcp.example.com/mcp', '--as', 'A B', '--', 'true'],
      'cannot name an environment variable',
    ],
    [['run', 'https://mcp.example.com/mcp', '--', '/nonexistent/program'], 'was not found'],
  ])('refuses %j before it starts anything', async (args, message) => {
    const { path } = await seededHome();
    const { code, out, err } = await holdfast(args, { HOLDFAST_HOME: path }).ended;
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
  });

  test('runs nothing without a login', async () => {
    const { path } = await temporaryHome();
    const args = ['run', 'https://mcp.example.com/mcp', '--', process.execPath, '-p', '"ran"'];
    const { code, out } = await holdfast(args, { HOLDFAST_HOME: path }).ended;
    expect({ code, out }).toEqual({ code: 3, out: '' });
  });
});
