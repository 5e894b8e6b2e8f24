import { startOidcServer } from '../../test/faults/crash/oidc-server.ts';
import type { Family } from '../../test/faults/crash/token-server.ts';
import type { Answer, Issuer } from './issuer.ts';
import { sharedNow } from './shared-clock.ts';

/** The real oidc-provider: it rotates, and ends the login when a refresh token comes twice. */
export async function startOidcIssuer(): Promise<Issuer> {
  const server = await startOidcServer();
  interface Kept {
    readonly family: Family;
    rotations: number;
    revokedAt?: number;
    loggedOutAt?: number;
  }
  const families: Kept[] = [];
  const byToken = new Map<string, { readonly number: number; readonly generation: number }>();
  return {
    begin: async (resource) => {
      const family = await server.begin(resource);
      const number = families.push({ family, rotations: 0 }) - 1;
      byToken.set(family.refreshToken, { number, generation: 0 });
      return { family: number, refreshToken: family.refreshToken };
    },
    present: async (refreshToken): Promise<Answer | undefined> => {
      const known = byToken.get(refreshToken);
      const kept = known && families[known.number];
      if (known === undefined || kept === undefined) return undefined;
      const base = { family: known.number, shown: { generation: known.generation, sibling: 0 } };
      if (kept.loggedOutAt !== undefined) return { ...base, outcome: 'refused' };
      const { endpoint, clientId } = kept.family;
      const answer = await fetch(endpoint, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'refresh_token',
          refresh_token: refreshToken,
          client_id: clientId,
        }),
      });
      const tokens = (await answer.json()) as { access_token?: string; refresh_token?: string };
      if (tokens.access_token === undefined || tokens.refresh_token === undefined) {
        kept.revokedAt ??= sharedNow();
        return { ...base, outcome: 'refused' };
      }
      kept.rotations += 1;
      byToken.set(tokens.refresh_token, { number: known.number, generation: kept.rotations });
      const given = { generation: kept.rotations, sibling: 0 };
      return {
        ...base,
        outcome: 'rotated',
        given: { ...given, accessToken: tokens.access_token, refreshToken: tokens.refresh_token },
      };
    },
    used: () => {},
    live: (family) => families[family]?.family.refreshToken ?? '',
    revokedAt: (family) => families[family]?.revokedAt,
    revoke: (refreshToken) => {
      const known = byToken.get(refreshToken);
      const kept = known && families[known.number];
      if (known === undefined || kept === undefined || kept.revokedAt !== undefined) return;
      if (known.generation !== kept.rotations) return;
      kept.revokedAt = sharedNow();
      kept.loggedOutAt = kept.revokedAt;
    },
    loggedOutAt: (family) => families[family]?.loggedOutAt,
    familyOf: (refreshToken) => byToken.get(refreshToken)?.number,
    close: () => server.close(),
  };
}
