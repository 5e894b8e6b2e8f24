import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CONFIGURATIONS } from '../../bench/storm/configurations.ts';
import { noNamespaces } from '../../bench/storm/namespaces.ts';
import { Place } from '../../bench/storm/place.ts';
import type { Result } from '../../bench/storm/storm.ts';
import { type Servers, startServers } from '../support/servers/servers.ts';

/*
 * A small `npm run storm` with the same code: the requests that the server counts, and the processes that get a token.
 */

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers.stop());

const PROCESSES = 8;
const ROUNDS = 3;
const NO_NAMESPACES = noNamespaces();

async function storm(name: string, freshProcesses = false): Promise<Result> {
  const place = await Place.make();
  onTestFinished(() => place.close());
  const configuration = CONFIGURATIONS.find((one) => one.name === name);
  if (configuration === undefined) throw new Error(`no configuration is called ${name}`);
  const scale = { processes: PROCESSES, rounds: ROUNDS, freshProcesses };
  return configuration.run(scale, servers, place);
}

function calm(validTokens: number) {
  return {
    tokenRequests: ROUNDS,
    validTokens,
    revocations: 0,
    roundsOff: 0,
    failures: [],
  };
}

describe('one token request for one expired token, in each of three rounds', () => {
  test('eight processes make one token request, and nothing is revoked', async () => {
    expect(await storm('file')).toMatchObject(calm(ROUNDS * PROCESSES));
  });

  test('eight new `holdfast token` processes make one token request, and nothing is revoked', async () => {
    expect(await storm('file', true)).toMatchObject(calm(ROUNDS * PROCESSES));
  });

  test('a thousand callers in one process make one token request, and nothing is revoked', async () => {
    expect(await storm('in-process')).toMatchObject(calm(ROUNDS * 1_000));
  });

  describe.skipIf(NO_NAMESPACES)('two PID namespaces that share one directory', () => {
    test('two PID namespaces make one token request with the kernel’s lock', async () => {
      expect(await storm('pid-namespaces')).toMatchObject(calm(ROUNDS * PROCESSES));
    });

    test('two PID namespaces make one token request with a lease file', async () => {
      expect(await storm('lease-file')).toMatchObject(calm(ROUNDS * PROCESSES));
    });
  });
});
