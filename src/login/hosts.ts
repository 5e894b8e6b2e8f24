import type { VaultEvent } from '../credentials/vault-event.ts';
import { IssuerMismatchError, LoginCancelledError } from '../errors.ts';
import type { Discovery } from '../oauth/discovery/discovery.ts';
import { quote } from '../quote.ts';
import type { LoginHosts, LoginOptions } from './types.ts';

/*
 * Mix-up (RFC 9700 section 4.4, modelcontextprotocol issue 1721). An attacker's metadata may name the login page of an honest
 * server and a token endpoint of the attacker's own. The person logs in at a page they know, and the code goes to the
 * attacker. A server that promises `iss` in its redirect cannot be misused so (RFC 9207). For one that does not, the only
 * sign is that page and issuer are of two origins; many vendors have that for honest reasons, so it is the person who decides.
 * The same holds for the endpoint that gives device codes. Where the token endpoint is says nothing: the issuer names it.
 */

/** Which hosts that way of logging in is with. */
export function hostsOf({ server }: Pick<Discovery, 'server'>, flow: 'browser' | 'device'): LoginHosts {
  const page = flow === 'browser' ? server.authorizationEndpoint : server.deviceAuthorizationEndpoint;
  return { issuer: new URL(server.issuer).host, page: new URL(page ?? server.issuer).host };
}

/**
 * Sees to it that the person, or the settings, agree to a login page of another origin than the issuer's.
 *
 * @returns the discovery, with the leniency where one was needed
 * @throws IssuerMismatchError where nobody can be asked, LoginCancelledError where they say no
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
