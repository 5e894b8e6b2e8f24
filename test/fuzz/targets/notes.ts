import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { leniencySettings, serverSettings } from '../../../src/login/server-settings.ts';
import { RetryState } from '../../../src/refresh/retry-state.ts';
import { Secret } from '../../../src/secret.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { layoutOf } from '../../../src/system/files/paths.ts';
import { openVault } from '../../../src/vault/open.ts';
import { sampleCredential } from '../../support/homes/credential.ts';
import { ACCESS, hostileTexts, mutated, REFRESH } from '../inputs.ts';
import { checkFailure, feed, type Target } from '../target.ts';

/*
 * Notes of a lease, which anybody with write access to an engine can write; the settings; and logins for `holdfast
 * import -`.
 */

const URL = 'https://mcp.example/mcp';
const JSON_WORDS = [
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '"',
  'null',
  '1e999',
  '-1',
  '\\u001b',
  '"servers"',
  '"file"',
  '"headers"',
];

async function directory() {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-fuzz-'));
  return { path, close: () => rm(path, { recursive: true, force: true }) };
}

export const NOTES: readonly Target[] = [
  {
    name: 'lease-note',
    title: 'waits at most an hour for any note on a lease, and shows only safe text of it',
    runs: 1000,
    open() {
      const credential = sampleCredential(URL);
      const now = Date.now();
      const note = {
        generation: credential.generation,
        loggedInAt: credential.loggedInAt,
        failures: 2,
        failedAt: now - 1000,
        pauseMs: 10_000,
        inDoubt: false,
        why: 'the server is having problems.',
        fruitless: [now - 1000, now - 2000],
      };
      const values = fc.oneof(
        fc.constantFrom(0, -1, now, 1e15, 1e300, [], [now, now, now, now, now], true),
        fc.constantFrom('\u001b]0;x\u0007', '\u202e', '\r\nSet-Cookie: x', 'x'.repeat(600)),
        fc.string({ unit: 'binary', maxLength: 100 }),
      );
      const texts = mutated(Object.keys(note), values).map((change) =>
        typeof change === 'string' ? change : JSON.stringify({ ...note, ...change }),
      );
      let told = 0;
      return {
        property: feed(fc.oneof(texts, hostileTexts([JSON.stringify(note)], JSON_WORDS, 4096)), (text) => {
          const attempts = RetryState.read(text, credential, now);
          const pauseMs = attempts.pauseMs(now);
          assert.ok(pauseMs <= 3_600_000 && !Number.isNaN(pauseMs), `a pause of ${pauseMs} ms`);
          if (pauseMs > 0) {
            told += 1;
            checkFailure(attempts.failure(credential, now), ['network', 'timeout']);
          }
          try {
            attempts.checkEffective(credential, now);
          } catch (error) {
            checkFailure(error, ['refresh-limited']);
          }
        }),
        reached: () => assert.ok(told > 5),
      };
    },
  },
  {
    name: 'settings',
    title: 'reads config.json, or refuses it and names the wrong entry',
    runs: 400,
    async open() {
      const { path, close } = await directory();
      const environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: path } };
      const layout = layoutOf(environment);
      await mkdir(path, { recursive: true, mode: 0o700 });
      const server = {
        clientId: 'c',
        clientAuth: 'none',
        scopes: ['a'],
        callbackPort: 4321,
        headers: { 'X-Team': { env: 'TEAM' } },
        lenient: { pkceNotAdvertised: true },
      };
      const whole = (one: unknown) => JSON.stringify({ servers: { [URL]: one } });
      const servers = mutated(
        Object.keys(server),
        fc.constantFrom({}, [], '', -1, { file: '/x' }, { env: 'X' }),
      );
      const texts = fc.oneof(
        hostileTexts([whole(server), '{"keyring":"file"}', ''], JSON_WORDS, 64 * 1024),
        servers.map((change) => whole(typeof change === 'string' ? change : { ...server, ...change })),
        fc.json().map((text) => `{"servers":${text}}`),
      );
      return {
        property: feed(texts, async (text) => {
          await writeFile(layout.config, text, { mode: 0o600 });
          for (const read of [serverSettings.bind(undefined, URL), leniencySettings]) {
            try {
              await read(layout, environment);
            } catch (error) {
              checkFailure(error, ['invalid-argument', 'storage-unreadable', 'storage-unsafe']);
            }
          }
        }),
        close,
      };
    },
  },
  {
    name: 'exported-login',
    title: 'stores a login from standard input only with values that a server could have sent',
    runs: 150,
    async open() {
      const { path, close } = await directory();
      const environment = { ...processEnvironment(), variables: { HOLDFAST_HOME: path } };
      const vault = openVault({ environment, keyring: 'memory' });
      const now = Date.now();
      const login = {
        format: 'holdfast-login',
        v: 1,
        resource: URL,
        account: 'default',
        generation: 1,
        server: { issuer: 'https://as.example', tokenEndpoint: 'https://as.example/token' },
        client: { clientId: 'c', authMethod: 'none', redirectUris: [], source: 'dynamic' },
        tokens: { accessToken: ACCESS, tokenType: 'Bearer', obtainedAt: now, expiresAt: now + 3_600_000 },
        grantedScope: 'a b',
        loggedInAt: now,
      };
      const { tokens } = login;
      const words = fc.constantFrom(
        '',
        'x y',
        'a\r\nX-Injected: yes',
        '\u001b]0;x\u0007',
        '\u202e',
        'é',
        REFRESH,
        null,
      );
      const inputs = fc.oneof(
        mutated(Object.keys(login), words).map((change) =>
          typeof change === 'string' ? change : JSON.stringify({ ...login, ...change }),
        ),
        mutated(Object.keys(tokens), words).map((change) =>
          JSON.stringify({
            ...login,
            tokens: typeof change === 'string' ? change : { ...tokens, ...change },
          }),
        ),
        hostileTexts([JSON.stringify(login)], JSON_WORDS, 64 * 1024),
      );
      let stored = 0;
      return {
        property: feed(inputs, async (text) => {
          try {
            const { credential } = await vault.transfer.importExported(new Secret(text), {
              replace: true,
            });
            stored += 1;
            const { token } = await vault.token(credential.resource, { account: credential.account });
            assert.match(token.reveal(), /^[!-~]+$/);
            assert.ok(
              credential.scopes.every((scope) => /^[!#-[\]-~]+$/.test(scope)),
              'a scope that is none',
            );
          } catch (error) {
            checkFailure(error);
          }
        }),
        reached: () => assert.ok(stored > 5),
        async close() {
          await vault.close();
          await close();
        },
      };
    },
  },
];
