import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { DirectoryStore } from '../../src/store/directory.ts';
import { gate } from '../support/homes/store.ts';
import { start, TYPESCRIPT } from '../support/processes/process.ts';
import {
  authorizationServer,
  directoryProcess,
  ended,
  machine,
  putLogin,
  RESOURCE,
  storedAt,
} from '../support/servers/lab.ts';

const PROCESS = fileURLToPath(new URL('../support/processes/token-process.ts', import.meta.url));

/**
 * The server processes the killed process's request after this time, in milliseconds, or right after the next request.
 */
const DECIDES_AFTER_MS = 1000;

/*
 * A lock of the kernel is free as soon as its holder is dead, while the server may not have processed its request yet.
 */
test.each([
  ['has expired', -1000],
  ['has a minute of life left', 60_000],
])(
  'the request of a killed process does not overtake the next one when the old token %s',
  async (_what, leftMs) => {
    const server = await authorizationServer('grace');
    const at = await machine({ replay: 'window' });
    const disk = new DirectoryStore(at.layout, at.environment);
    const { family, refreshToken } = await server.begin();
    await putLogin(disk, at, { server, refreshToken, leftMs });
    const [arrived, decided, overtaken] = [gate(), gate(), gate()];
    server.hooks.before = async (n) => {
      if (n !== 1) return;
      arrived.open();
      const slow = new Promise((resolve) => setTimeout(resolve, DECIDES_AFTER_MS));
      await Promise.race([slow, overtaken.opened]);
    };
    server.hooks.after = (n) => {
      (n === 1 ? decided : overtaken).open();
    };
    const variables = { ...at.environment.variables, HOLDFAST_KEYRING: 'key-file' };
    const killed = start(process.execPath, [...TYPESCRIPT, PROCESS, RESOURCE], variables);
    await arrived.opened;
    killed.kill('SIGKILL');
    await killed.ended;
    const next = await ended(directoryProcess(at).vault.token(RESOURCE));
    await decided.opened;
    // A token with life left may be served in the meantime.
    if (next !== 'generation 2')
      await ended(directoryProcess(at).vault.token(RESOURCE, { rejectedGeneration: 1 }));
    expect((await storedAt(disk, at))?.refreshToken === server.live(family)).toBe(true);
    expect(server.hasEnded(family)).toBe(false);
  },
);
