import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryHome } from '../support/homes/home.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';
import { type CommandLine, commandLine } from '../support/transcript.ts';

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

async function newHome(): Promise<CommandLine> {
  return commandLine((await temporaryHome()).path, [servers]);
}

describe('a URL with another slash at its end', () => {
  test('treats it as another URL, and names the URL that has the login', async () => {
    const at = await newHome();
    expect((await at.run(['login', servers.resource])).code).toBe(0);
    for (const args of [
      ['token', `${servers.resource}/`],
      ['headers', `${servers.resource}/`],
      ['export', `${servers.resource}/`, '--reveal', '--yes'],
      ['export', `${servers.resource}/`, '--reveal', '--yes', '--move'],
    ]) {
      const { code, err } = await at.run(args);
      expect({ args, code }).toEqual({ args, code: 3 });
      expect(err).toContain(`There is one to ${servers.resource}: the slash at the end makes another URL.`);
      expect(err).toContain(`log in: holdfast login ${servers.resource}/`);
    }
    const logout = await at.run(['logout', `${servers.resource}/`]);
    expect(logout.code).toBe(0);
    expect(logout.err).toContain(`There is one to ${servers.resource}, another URL.`);
    expect((await at.run(['token', servers.resource])).code).toBe(0);
  });

  test('does not name the other URL when only another account has a login there', async () => {
    const at = await newHome();
    await at.run(['login', servers.resource, '--account', 'work']);
    expect(await at.told(['token', `${servers.resource}/`])).not.toContain('There is one to');
    expect(await at.told(['token', `${servers.resource}/`, '--account', 'work'])).toContain(
      'There is one to',
    );
  });
});

describe('a long URL', () => {
  const long = (length: number) => `${servers.resource}?x=`.padEnd(length, 'a');

  test.each(['login', 'token', 'logout'])(
    'refuses a URL of more than 8,000 characters in %s',
    async (command) => {
      const { code, err } = await (await newHome()).run([command, long(8001)]);
      expect(code).toBe(2);
      expect(err).toContain('The URL is too long: it has 8001 characters, and at most 8000 can be used.');
      expect(err.length).toBeLessThan(400);
    },
  );
});
