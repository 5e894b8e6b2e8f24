import { describe, expect, test } from 'vitest';
import {
  journey,
  LOOPBACK,
  METADATA,
  NO_SMALL_INTERNET,
  PRIVATE,
  PUBLIC,
  PUBLIC_6,
} from '../support/network/small-internet.ts';

const AS = 'as.example.com';

describe.skipIf(NO_SMALL_INTERNET)('a request by name, with real DNS', () => {
  test('connects to public, private and loopback addresses, and reports the reach', async () => {
    const names = {
      [AS]: [[PUBLIC]],
      'as6.example.com': [[PUBLIC_6]],
      'in.example.com': [[PRIVATE]],
      'here.example.com': [[LOOPBACK]],
    };
    const { visited, connections } = await journey(names, [
      { host: AS, reach: 'public' },
      { host: 'as6.example.com', reach: 'public' },
      { host: 'in.example.com', reach: 'private' },
      { host: 'here.example.com', reach: 'anywhere' },
      { host: AS },
    ]);
    expect(visited).toEqual([
      { status: 200, reached: 'public' },
      { status: 200, reached: 'public' },
      { status: 200, reached: 'private' },
      { status: 200, reached: 'anywhere' },
      { status: 200, reached: 'public' },
    ]);
    expect(connections).toEqual({ [PUBLIC]: 2, [PUBLIC_6]: 1, [PRIVATE]: 1, [LOOPBACK]: 1, [METADATA]: 0 });
  });

  test.each([
    [LOOPBACK, 'a loopback address'],
    [PRIVATE, 'an address of a private network'],
    [METADATA, 'the address of a cloud’s metadata service'],
  ])('refuses a name that leads to %s at the second lookup (DNS rebinding)', async (address, kind) => {
    const { visited, connections, lookups } = await journey({ [AS]: [[PUBLIC], [address]] }, [
      { host: AS, reach: 'public' },
      { host: AS, reach: 'public' },
    ]);
    expect(visited).toEqual([
      { status: 200, reached: 'public' },
      { code: 'unsafe-url', message: expect.stringContaining(`"${AS}" leads to "${address}", ${kind}`) },
    ]);
    // One lookup for each request: the connection uses the checked address.
    expect(lookups).toEqual({ [AS]: 2 });
    expect(connections[address]).toBe(0);
  });

  test.each([['::1'], ['::ffff:7f00:1'], ['64:ff9b::7f00:1'], ['2002:7f00:1::'], ['fe80::1']])(
    'refuses a name that leads to %s',
    async (address) => {
      const { visited, connections } = await journey({ [AS]: [[address]] }, [{ host: AS, reach: 'private' }]);
      expect(visited).toMatchObject([
        { code: 'unsafe-url', message: expect.stringContaining(`"${AS}" leads to`) },
      ]);
      expect(connections[LOOPBACK]).toBe(0);
    },
  );

  test('connects only to those addresses of a name that are within reach', async () => {
    const { visited, connections } = await journey({ [AS]: [[LOOPBACK, METADATA, PUBLIC, PRIVATE, '::1']] }, [
      { host: AS, reach: 'public' },
    ]);
    expect(visited).toEqual([{ status: 200, reached: 'public' }]);
    expect(connections).toEqual({ [PUBLIC]: 1, [PUBLIC_6]: 0, [PRIVATE]: 0, [LOOPBACK]: 0, [METADATA]: 0 });
  });

  test('follows a redirect within the reach, and none beyond it', async () => {
    const { visited, connections } = await journey({ [AS]: [[PUBLIC]], 'in.example.com': [[PRIVATE]] }, [
      { host: AS, path: '/to/in.example.com', reach: 'public' },
      { host: AS, path: `/to/${PRIVATE}`, reach: 'public' },
      { host: AS, path: `/to/${METADATA}`, reach: 'private' },
      { host: AS, path: '/to/in.example.com', reach: 'private' },
      { host: AS, path: '/to/in.example.com' },
    ]);
    expect(visited).toEqual([
      { code: 'unsafe-url', message: expect.stringContaining('"in.example.com"') },
      { code: 'unsafe-url', message: expect.stringContaining(`"${PRIVATE}"`) },
      { code: 'unsafe-url', message: expect.stringContaining(`"${METADATA}"`) },
      { status: 200, reached: 'private' },
      { status: 200, reached: 'private' },
    ]);
    expect(connections).toEqual({ [PUBLIC]: 5, [PUBLIC_6]: 0, [PRIVATE]: 2, [LOOPBACK]: 0, [METADATA]: 0 });
  });
});
