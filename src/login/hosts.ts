import type { VaultEvent } from '../credentials/vault-event.ts';
import { IssuerMismatchError, LoginCancelledError } from '../errors.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import { quote } from '../quote.ts';
import type { LoginHosts, LoginOptions } from './types.ts';

/*
 * Protects against mix-up (RFC 9700 section 4.4, modelcontextprotocol issue 1721). An attacker's metadata may name the
 * login page of an honest server and a token endpoint of the attacker's own. The user logs in at a familiar page, and
 * the code goes to the attacker. A server that promises `iss` in its redirect cannot be misused like this (RFC 9207).
 * Without that promise, the only sign is that page and issuer have different origins. Many vendors have an honest
 * reason for that, so the user decides. The same holds for the endpoint that issues device codes. The token endpoint's
 * origin proves nothing: the issuer names it.
 */

/** Returns the hosts that the user deals with in that flow. */
export function hostsOf({ server }: Pick<Discovery, 'server'>, flow: 'browser' | 'device'): LoginHosts {
  const page = flow === 'browser' ? server.authorizationEndpoint : server.deviceAuthorizationEndpoint;
  return { issuer: new URL(server.issuer).host, page: new URL(page ?? server.issuer).host };
}

/**
 * Makes sure that the user, or the settings, accept a login page of another origin than the issuer's.
 *
 * @returns the discovery, with the leniency if one was needed
 * @throws IssuerMismatchError when nobody can be asked, LoginCancelledError when the user declines
 */
export async function agreeOnHosts(
  discovery: Discovery,
  flow: 'browser' | 'device',
  { interaction, lenient }: LoginOptions,
  report: (event: VaultEvent) => void,
): Promise<Discovery> {
  const { server } = discovery;
  const hosts = hostsOf(discovery, flow);
  const [issuer, other] = [quote(hosts.issuer), quote(hosts.page)];
  interaction?.progress?.(
    `Logging in at ${issuer}${hosts.issuer === hosts.page ? '' : `, whose page is on ${other}`}`,
  );
  const page = flow === 'browser' ? server.authorizationEndpoint : server.deviceAuthorizationEndpoint;
  const isSplit = new URL(page ?? server.issuer).origin !== new URL(server.issuer).origin;
  const isProven = flow === 'browser' && server.issParameterSupported;
  if (!isSplit || isProven) return discovery;
  const what = flow === 'browser' ? 'The login page is on' : 'The device code comes from';
  const message = `${what} ${other}, but the authorization server is ${issuer}.`;
  if (lenient?.splitEndpoints !== true) {
    if (interaction?.confirmHosts === undefined) {
      throw new IssuerMismatchError(`${message} Nothing proves that they belong together (RFC 9207).`, {
        hint: `If they do not, ${issuer} could take the login that you make at ${other}. If you know that they do: --lenient split-endpoints`,
      });
    }
    if (!(await interaction.confirmHosts(hosts))) {
      throw new LoginCancelledError('The login was cancelled. Nothing was stored.');
    }
  } else report({ type: 'leniency', message: `${message} (lenient: split-endpoints)` });
  return { ...discovery, leniencies: [...discovery.leniencies, { name: 'split-endpoints', message }] };
}
