import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classify, holds } from '../../src/http/addresses.ts';
import '../support/fixed-seed.ts';

describe('address classes', () => {
  test.each([
    ['127.0.0.1', 'a loopback address', 'anywhere'],
    ['127.255.255.255', 'a loopback address', 'anywhere'],
    ['::1', 'a loopback address', 'anywhere'],
    ['0.0.0.0', 'an unspecified address', 'anywhere'],
    ['0.1.2.3', 'an unspecified address', 'anywhere'],
    ['::', 'an unspecified address', 'anywhere'],
    ['169.254.169.254', 'the address of a cloud’s metadata service', 'anywhere'],
    ['100.100.100.200', 'the address of a cloud’s metadata service', 'anywhere'],
    ['168.63.129.16', 'the address of a cloud’s metadata service', 'anywhere'],
    ['fd00:ec2::254', 'the address of a cloud’s metadata service', 'anywhere'],
    ['fd20:ce::254', 'the address of a cloud’s metadata service', 'anywhere'],
    ['169.254.0.1', 'a link-local address', 'anywhere'],
    ['fe80::1', 'a link-local address', 'anywhere'],
    ['febf::1%eth0', 'a link-local address', 'anywhere'],
    ['224.0.0.1', 'a multicast address', 'anywhere'],
    ['239.255.255.255', 'a multicast address', 'anywhere'],
    ['ff02::1', 'a multicast address', 'anywhere'],
    ['255.255.255.255', 'the broadcast address', 'anywhere'],
    ['192.0.2.1', 'an address for documentation', 'anywhere'],
    ['198.51.100.1', 'an address for documentation', 'anywhere'],
    ['203.0.113.1', 'an address for documentation', 'anywhere'],
    ['2001:db8::1', 'an address for documentation', 'anywhere'],
    ['3fff:fff::1', 'an address for documentation', 'anywhere'],
    ['198.19.255.255', 'an address for benchmarks', 'anywhere'],
    ['192.0.0.8', 'a reserved address', 'anywhere'],
    ['240.0.0.1', 'a reserved address', 'anywhere'],
    ['2001::1', 'a reserved address', 'anywhere'],
    ['100::1', 'a reserved address', 'anywhere'],
    ['fec0::1', 'a reserved address', 'anywhere'],
    ['64:ff9b:1::7f00:1', 'a reserved address', 'anywhere'],
    ['::127.0.0.1', 'a reserved address', 'anywhere'],
    ['10.0.0.1', 'an address of a private network', 'private'],
    ['172.16.0.1', 'an address of a private network', 'private'],
    ['172.31.255.255', 'an address of a private network', 'private'],
    ['192.168.255.255', 'an address of a private network', 'private'],
    ['fc00::1', 'an address of a private network', 'private'],
    ['fdff::1', 'an address of a private network', 'private'],
    ['100.64.0.1', 'an address of a provider’s own network', 'private'],
    ['100.127.255.255', 'an address of a provider’s own network', 'private'],
    ['1.1.1.1', 'a public address', 'public'],
    ['9.255.255.255', 'a public address', 'public'],
    ['11.0.0.0', 'a public address', 'public'],
    ['100.63.255.255', 'a public address', 'public'],
    ['100.128.0.0', 'a public address', 'public'],
    ['128.0.0.0', 'a public address', 'public'],
    ['169.253.255.255', 'a public address', 'public'],
    ['172.15.255.255', 'a public address', 'public'],
    ['172.32.0.0', 'a public address', 'public'],
    ['192.167.255.255', 'a public address', 'public'],
    ['223.255.255.255', 'a public address', 'public'],
    ['2606:4700:4700::1111', 'a public address', 'public'],
    ['2001:4860:4860::8888', 'a public address', 'public'],
  ] as const)('%s is %s, within reach %s', (address, kind, reach) => {
    expect(classify(address)).toMatchObject({ kind, reach });
  });

  test.each([
    ['::ffff:127.0.0.1', 'a loopback address (by the 127.0.0.1 in it)', 'anywhere'],
    [
      '::ffff:a9fe:a9fe',
      'the address of a cloud’s metadata service (by the 169.254.169.254 in it)',
      'anywhere',
    ],
    ['0:0:0:0:0:FFFF:10.1.2.3', 'an address of a private network (by the 10.1.2.3 in it)', 'private'],
    ['64:ff9b::127.0.0.1', 'a loopback address (by the 127.0.0.1 in it)', 'anywhere'],
    ['64:ff9b::c0a8:101', 'an address of a private network (by the 192.168.1.1 in it)', 'private'],
    ['64:ff9b::8.8.8.8', 'a public address (by the 8.8.8.8 in it)', 'public'],
    ['2002:7f00:1::1', 'a loopback address (by the 127.0.0.1 in it)', 'anywhere'],
    ['2002:a01:203:1::', 'an address of a private network (by the 10.1.2.3 in it)', 'private'],
    ['2002:808:808::', 'a public address (by the 8.8.8.8 in it)', 'public'],
  ] as const)('judges %s by the IPv4 address in it', (address, kind, reach) => {
    expect(classify(address)).toEqual({ kind, reach });
  });

  test.each(['', 'localhost', '2130706433', '127.1', '1.2.3.4.5', '::1::', 'fe80::1 ', '10.0.0.1:80'])(
    'does not treat %j, which is no address, as public',
    (text) => {
      expect(classify(text).reach).toBe('anywhere');
    },
  );

  test('gives an IPv4 address the same reach however it is embedded or written', () => {
    const byte = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(fc.tuple(byte, byte, byte, byte), ([a, b, c, d]) => {
        const dotted = `${a}.${b}.${c}.${d}`;
        const [high, low] = [(a << 8) | b, (c << 8) | d].map((group) => group.toString(16));
        const { reach } = classify(dotted);
        for (const other of [
          `::ffff:${dotted}`,
          `::FFFF:${high}:${low}`,
          `0:0:0:0:0:ffff:${high}:${low}`,
          `64:ff9b::${dotted}`,
          `0064:ff9b:0000::${high}:${low}`,
          `2002:${high}:${low}::`,
          `2002:${high}:${low}:0:1:2:3:4`,
        ]) {
          expect([other, classify(other).reach]).toEqual([other, reach]);
        }
      }),
    );
  });

  test('classifies IPv4 addresses like an independent calculation', () => {
    const nonPublic = (n: number) =>
      [
        [0x00000000, 8],
        [0x0a000000, 8],
        [0x64400000, 10],
        [0x7f000000, 8],
        [0xa9fe0000, 16],
        [0xac100000, 12],
        [0xc0000000, 24],
        [0xc0000200, 24],
        [0xc0586300, 24],
        [0xc0a80000, 16],
        [0xc6120000, 15],
        [0xc6336400, 24],
        [0xcb007100, 24],
        [0xe0000000, 3],
        [0x646464c8, 32],
        [0xa83f8110, 32],
      ].some(([network = 0, bits = 0]) => Math.floor(n / 2 ** (32 - bits)) === network / 2 ** (32 - bits));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (n) => {
        const address = [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
        expect([address, classify(address).reach === 'public']).toEqual([address, !nonPublic(n)]);
      }),
      { numRuns: 5000 },
    );
  });

  test('treats IPv6 addresses as public only in the range that IANA has allocated', () => {
    const group = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const [first = 0] = groups;
        const reach = classify(groups.map((each) => each.toString(16)).join(':')).reach;
        if (first >> 13 !== 1) expect(reach).not.toBe('public');
        else if (first > 0x2002 && first < 0x3fff) expect(reach).toBe('public');
      }),
    );
  });
});

describe('a reach', () => {
  test('a wider reach includes the narrower ones', () => {
    const held = (['public', 'private', 'anywhere'] as const).map((reach) =>
      ['8.8.8.8', '10.0.0.1', '127.0.0.1'].map((address) => holds(reach, address)),
    );
    expect(held).toEqual([
      [true, false, false],
      [true, true, false],
      [true, true, true],
    ]);
  });
});
