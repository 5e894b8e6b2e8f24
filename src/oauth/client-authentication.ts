import * as oauth from 'oauth4webapi';
import type { ClientRegistration } from '../credential.ts';
import { send, type RequestOptions } from './http.ts';
import { checkServerUp } from './protocol-error.ts';

/** How `oauth4webapi` names the client, and how the client proves itself (RFC 6749 section 2.3). */
export function clientOf(client: ClientRegistration): {
  client: oauth.Client;
  authentication: oauth.ClientAuth;
} {
  const secret = client.clientSecret?.reveal() ?? '';
  const authentication = {
    none: () => oauth.None(),
    client_secret_basic: () => basic(secret),
    client_secret_post: () => oauth.ClientSecretPost(secret),
  }[client.authMethod]();
  return { client: { client_id: client.clientId }, authentication };
}

/**
 * RFC 6749 section 2.3.1: both are form-encoded before they go into the header. Not by `oauth4webapi`, which encodes `-`
 * and `_` too: that is allowed, and breaks the servers that forget to decode, for every client id that is a UUID.
 */
function basic(secret: string): oauth.ClientAuth {
  const encode = (text: string) => new URLSearchParams({ x: text }).toString().slice('x='.length);
  return (_server, client, _body, headers) => {
    const pair = `${encode(client.client_id)}:${encode(secret)}`;
    headers.set('authorization', `Basic ${Buffer.from(pair, 'latin1').toString('base64')}`);
  };
}

/** Lets `oauth4webapi` send through our bounded client. Plain http was checked to stay on this machine. */
export function through(options: RequestOptions, what: string) {
  return {
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (
      url: string,
      init: { headers: Record<string, string>; body?: URLSearchParams | string },
    ): Promise<Response> => {
      const response = await send(url, {
        ...options,
        method: 'POST',
        headers: init.headers,
        body: init.body?.toString() ?? '',
      });
      checkServerUp(response, what);
      const body = [204, 205, 304].includes(response.status) ? null : response.body;
      return new Response(body, { status: response.status, headers: contentHeaders(response.headers) });
    },
  };
}

/** Only what the processing looks at: the body is decoded already, so its encoding must not be named again. */
function contentHeaders(headers: Headers): Headers {
  const kept = new Headers();
  for (const name of ['content-type', 'www-authenticate', 'cache-control']) {
    const value = headers.get(name);
    if (value !== null) kept.set(name, value);
  }
  return kept;
}
