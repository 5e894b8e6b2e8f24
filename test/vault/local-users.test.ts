import { describe, expect, test } from 'vitest';
import { localUsers } from '../../src/doctor/doctor.ts';
import { tellsUsers } from '../../src/system/network/tcp-peer.ts';
import { requirement } from '../support/requirement.ts';

const NO_PROC = requirement('there is no /proc', process.platform === 'linux');

/* Findings of doctor on a system without tables of connections, such as macOS and Windows. */

describe('doctor', () => {
  test('doctor says in one finding that the system does not tell who sends a redirect, and what to do', async () => {
    const nowhere = ['/nonexistent/net/tcp', '/nonexistent/net/tcp6'];
    const findings = await localUsers(() => tellsUsers(nowhere));
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ check: 'local users', status: 'warning' });
    expect(findings[0]?.hint).toMatch(/holdfast login URL --paste$/);
  });

  test.skipIf(NO_PROC)(
    'doctor does not mention senders of redirects on Linux, where the system tells',
    async () => {
      expect(await localUsers(tellsUsers)).toEqual([]);
    },
  );

  test.skipIf(NO_PROC)(
    'doctor does not mention senders of redirects where only one of the tables exists',
    async () => {
      expect(await tellsUsers(['/nonexistent/net/tcp', '/proc/self/net/tcp'])).toBe(true);
    },
  );
});
