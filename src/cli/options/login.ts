import type { Option } from '../command.ts';

/* Options that change a login: the client, the grant, and a server's leniencies. */

const file = (summary: string): Option => ({ type: 'string', value: 'FILE', summary });
const text = (value: string, summary: string): Option => ({ type: 'string', value, summary });

export const LOGIN_OPTIONS: Readonly<Record<string, Option>> = {
  'client-id': text('ID', 'a client that was registered there beforehand (or $HOLDFAST_CLIENT_ID)'),
  'client-secret-file': file('the file that holds its secret (or $HOLDFAST_CLIENT_SECRET)'),
  'client-key-file': file('the file that holds its private key, PKCS #8 in PEM, for private_key_jwt'),
  'client-key-id': text('KID', 'what the server knows that key by'),
  'client-auth': {
    ...text('METHOD', 'how the client proves itself, where its secret or key leaves a choice'),
    choices: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  },
  'client-issuer': text('ISSUER', 'the authorization server that knows it; the login is refused at another'),
  'client-metadata-url': text('URL', 'our metadata document, for servers that take one as client id'),
  'client-credentials': { type: 'boolean', summary: 'without a person: the client itself is the grant' },
  'workload-token-file': file('without a person: the platform’s token in that file is the grant'),
  'workload-token-env': text('NAME', 'the same from a variable, which each process that renews must have'),
  'id-token-file': file('without a person: the enterprise’s ID token in that file; with --idp'),
  'id-token-env': text('NAME', 'the same from a variable'),
  idp: text('ISSUER', 'the enterprise’s identity provider'),
  'idp-client-id': text('ID', 'the client that Holdfast is there'),
  'idp-client-secret-file': file('the file that holds that client’s secret'),
  dpop: { type: 'boolean', summary: 'bind the tokens to a key (DPoP, RFC 9449)' },
  lenient: {
    ...text('NAMES', 'what this server is allowed: see docs/conformance.md; separated by commas'),
    choices: [
      'pkce-not-advertised',
      'resource-omitted',
      'legacy-endpoints',
      'private-addresses',
      'split-endpoints',
      'other-local-users',
    ],
  },
  'trusted-issuer': text('ISSUER', 'the issuer that its metadata may name in place of the right one'),
  'metadata-url': text('URL', 'where the authorization server’s metadata lies'),
};
