import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Credential, CredentialId } from '../../../src/credential.ts';
import { serializeCredential } from '../../../src/credential-record.ts';
import { sealBlob } from '../../../src/handover/blob.ts';
import { parseCode } from '../../../src/handover/code.ts';
import { sampleCredential } from '../../support/homes/credential.ts';
import { codeIn, fileWith } from '../../support/homes/handover.ts';
import { type Home, temporaryHome } from '../../support/homes/home.ts';
import { partsAt } from '../../support/homes/vault.ts';
import { HOSTILE_TEXTS, unprintableIn } from '../../support/hostile-text.ts';
import { holdfast } from '../../support/processes/process.ts';
import { answer, hostileServer, json, type Routes } from '../../support/servers/hostile-server.ts';

/*
 * Every string that a record, a blob, a file, a server or an argument can put into the output of a command holds all
 * characters that a terminal acts on. Stdout and stderr stay printable, with --json and HOLDFAST_DEBUG too.
 */

/** All hostile texts in one. JSON can carry it; a header and others get only a part. */
const HOSTILE = HOSTILE_TEXTS.map(([, text]) => text).join(' ');
/** The part that a command-line argument can hold: no null, and well-formed text. */
const TYPED = HOSTILE.replaceAll(/[\0\p{Cs}]/gu, '');
const URL_OF_SERVER = 'https://mcp.example/mcp';

/** Runs the commands one after the other, as text and as JSON, each time in a new home. */
async function isClean(home: () => Promise<Home>, ...commands: (readonly string[])[]): Promise<void> {
  await Promise.all([[], ['--json']].map(async (form) => saysOnlyText(await home(), commands, form)));
}

async function saysOnlyText(home: Home, commands: (readonly string[])[], form: string[]): Promise<void> {
  for (const args of commands) {
    const { out, err } = await holdfast([...args, ...form], {
      HOLDFAST_HOME: home.path,
      HOLDFAST_KEYRING: 'file',
      HOLDFAST_DEBUG: '1',
      BROWSER: 'false',
    }).ended;
    const said = `${out}${err}`;
    expect([args[0], ...unprintableIn(said)]).toEqual([args[0]]);
    // A lone surrogate that was written unescaped is decoded as this character.
    expect([args[0], said.includes('\ufffd')]).toEqual([args[0], false]);
  }
}

/** Writes a record as an older Holdfast, or an attacker with the key, could have written it. */
async function homeWith(changes: Partial<Credential> = {}): Promise<Home> {
  const home = await temporaryHome();
  const { credentialStore, keys } = partsAt(home);
  const credential = sampleCredential(URL_OF_SERVER, {
    grantedScope: HOSTILE,
    requestedScope: HOSTILE,
    leniencies: [HOSTILE],
    ...changes,
  });
  await credentialStore.save(
    await keys.strongest(),
    CredentialId.of(URL_OF_SERVER, undefined),
    () => credential,
  );
  return home;
}

const sample = sampleCredential(URL_OF_SERVER);
const ended: Partial<Credential> = {
  loginRequired: { reason: `it said ${HOSTILE}`, error: HOSTILE, since: Date.now() },
};
const oddServer: Partial<Credential> = {
  server: { issuer: `https://as.example/${HOSTILE}`, tokenEndpoint: `http://127.0.0.1:9/${HOSTILE}` },
  client: { ...sample.client, clientId: HOSTILE },
  tokens: { ...sample.tokens, obtainedAt: 0, expiresAt: 1 },
  imported: { from: HOSTILE, mode: 'access-token', at: 1, origin: HOSTILE },
};

describe('hostile text in a record', () => {
  test.each([
    ['list'],
    ['doctor'],
    ['store status --open'],
    ['token URL'],
    ['headers URL'],
    ['export URL --reveal --yes'],
    ['export URL --reveal --yes --format env'],
    ['send URL --to CODE'],
    ['send URL --to CODE --move'],
    ['refresher --once'],
    ['rekey'],
    ['logout URL'],
  ])('lets no control character of a record reach the terminal through holdfast %s', async (line) => {
    let code = '';
    if (line.includes('CODE')) {
      const { path } = await temporaryHome();
      code = codeIn((await holdfast(['receive', '--later'], { HOLDFAST_HOME: path }).ended).out);
    }
    const args = line.replace('URL', URL_OF_SERVER).replace('CODE', code).split(' ');
    await Promise.all([{}, ended, oddServer].map((changes) => isClean(() => homeWith(changes), args)));
  });

  test('makes neither a second header nor a second line of a token', async () => {
    const { Secret } = await import('../../../src/secret.ts');
    const home = await homeWith({
      tokens: { ...sample.tokens, accessToken: new Secret('AT\r\nX-Injected: yes') },
    });
    for (const command of ['token', 'headers']) {
      const { code, out, err } = await holdfast([command, URL_OF_SERVER], {
        HOLDFAST_HOME: home.path,
        HOLDFAST_KEYRING: 'file',
      }).ended;
      expect({ code, out }).toEqual({ code: 6, out: '' });
      expect(err).toContain('so nothing was printed');
    }
  });
});

describe('hostile text in a blob or a file', () => {
  test('lets no control character of a blob reach the terminal through holdfast receive', async () => {
    const receiver = await temporaryHome();
    const { out } = await holdfast(['receive', '--later'], {
      HOLDFAST_HOME: receiver.path,
      HOLDFAST_KEYRING: 'file',
    }).ended;
    const home = async () => {
      const copy = await temporaryHome();
      await cp(receiver.path, copy.path, { recursive: true });
      return copy;
    };
    const code = parseCode(codeIn(out));
    const about = {
      resource: URL_OF_SERVER,
      account: 'default',
      mode: 'move' as const,
      expiresAt: Date.now() + 60_000,
    };
    const headers = [{}, { resource: HOSTILE.slice(0, 100) }, { account: HOSTILE.slice(0, 100) }];
    const contents: Partial<Credential>[] = [
      { account: HOSTILE.slice(0, 100) },
      { tokens: { ...sample.tokens, tokenType: HOSTILE } },
      { resourceParameter: HOSTILE },
      { grantedScope: HOSTILE, leniencies: [HOSTILE], requestedScope: HOSTILE },
    ];
    const blobs = [`-----BEGIN HOLDFAST HAND-OVER-----${HOSTILE}`];
    for (const header of headers) {
      for (const content of contents) {
        const plaintext = serializeCredential({ ...sample, ...header, ...content });
        blobs.push(await sealBlob(code, { ...about, ...header }, plaintext));
      }
    }
    const files = await Promise.all(blobs.map(fileWith));
    await Promise.all(files.map((file) => isClean(home, ['receive', '--blob', file], ['list'])));
  });

  test('lets no control character of a file reach the terminal through holdfast import', async () => {
    const home = await temporaryHome();
    const { HOME } = { HOME: join(home.path, 'person') };
    await mkdir(join(HOME, '.codex'), { recursive: true });
    await writeFile(
      join(HOME, '.codex', '.credentials.json'),
      JSON.stringify({
        [`${HOSTILE}|0123456789abcdef`]: {
          server_name: HOSTILE,
          url: URL_OF_SERVER,
          client_id: HOSTILE,
          access_token: HOSTILE,
          refresh_token: HOSTILE,
          scopes: [HOSTILE],
        },
        other: {
          server_name: HOSTILE,
          url: HOSTILE,
          client_id: HOSTILE,
          access_token: 'x',
          scopes: [HOSTILE],
        },
      }),
    );
    for (const args of [
      ['import', '--list'],
      ['import', 'codex', '--list'],
      ['import', 'codex', '--yes'],
    ]) {
      for (const form of [[], ['--json']]) {
        const { out, err } = await holdfast([...args, ...form], {
          HOME,
          HOLDFAST_HOME: home.path,
          HOLDFAST_DEBUG: '1',
        }).ended;
        expect(unprintableIn(`${out}${err}`)).toEqual([]);
      }
    }
  });
});

describe('hostile text from a server', () => {
  test('lets no control character of a server reach the terminal through login and proxy', async () => {
    const metadata = (origin: string, changes: object = {}) => ({
      '/.well-known/oauth-authorization-server': {
        issuer: origin,
        authorization_endpoint: `${origin}/authorize`,
        token_endpoint: `${origin}/token`,
        registration_endpoint: `${origin}/register`,
        response_types_supported: ['code'],
        code_challenge_methods_supported: ['S256'],
        ...changes,
      },
    });
    const refusal = { error: HOSTILE, error_description: HOSTILE, error_uri: HOSTILE };
    const saying: ((origin: string) => Routes)[] = [
      (origin) => metadata(origin, { issuer: `${origin}/${HOSTILE}` }),
      (origin) => metadata(origin, { token_endpoint: HOSTILE, scopes_supported: [HOSTILE] }),
      (origin) => metadata(origin, { authorization_endpoint: `${origin}/${HOSTILE}` }),
      (origin) => ({ ...metadata(origin), '/register': json(refusal, 400) }),
      (origin) => ({ ...metadata(origin), '/register': json({ client_id: HOSTILE }) }),
      (origin) => ({
        '/.well-known/oauth-protected-resource/mcp': {
          resource: `${origin}/${HOSTILE}`,
          authorization_servers: [HOSTILE],
        },
      }),
      (origin) => ({
        '/.well-known/oauth-protected-resource/mcp': {
          resource: `${origin}/mcp`,
          authorization_servers: [`${origin}/${HOSTILE}`],
        },
      }),
      () => ({ '*': answer(500, HOSTILE) }),
    ];
    await Promise.all(
      saying.map(async (said) => {
        const { origin } = await hostileServer((own) => ({ '/mcp': answer(401, HOSTILE), ...said(own) }));
        await isClean(temporaryHome, ['login', `${origin}/mcp`, '--no-browser', '--timeout', '1']);
      }),
    );
    const { origin } = await hostileServer({ '/mcp': answer(401, HOSTILE), '*': answer(500, HOSTILE) });
    const { path } = await temporaryHome();
    const { err } = await holdfast(['proxy', `${origin}/mcp`, '--debug'], { HOLDFAST_HOME: path }).ended;
    expect(unprintableIn(err)).toEqual([]);
  });
});

describe('hostile text in an argument', () => {
  test.each([
    ['login'],
    ['token'],
    ['headers'],
    ['logout'],
    ['send'],
    ['receive'],
    ['export'],
    ['import'],
    ['configure'],
    ['store'],
    ['key'],
    ['completion'],
    ['help'],
    ['run'],
    ['proxy'],
  ])('lets no control character of an argument reach the terminal through holdfast %s', async (command) => {
    await isClean(temporaryHome, [command, TYPED], [command, URL_OF_SERVER, '--account', TYPED]);
  });

  test('lets no control character of a command or option name reach the terminal', async () => {
    const home = await temporaryHome();
    for (const args of [[TYPED], [`--${TYPED}`], ['list', `--${TYPED}`], ['list', TYPED]]) {
      const { out, err } = await holdfast(args, { HOLDFAST_HOME: home.path }).ended;
      expect(unprintableIn(`${out}${err}`)).toEqual([]);
    }
  });
});
