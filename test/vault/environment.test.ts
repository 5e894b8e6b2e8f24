import { expect, test } from 'vitest';
import { Secret } from '../../src/secret.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { vaultAt } from '../support/homes/vault.ts';
import { connectProxy } from '../support/network/connect-proxy.ts';
import { remoteHost } from '../support/network/remote-host.ts';
import { hostileServer } from '../support/servers/hostile-server.ts';
import '../support/network/no-proxy-variables.ts';

test('each request of a login, a refresh and a logout goes through the proxy of the environment given to openVault', async () => {
  let tokens = 0;
  const server = await hostileServer(
    (origin) => ({
      '/mcp': (_request, response) =>
        void response
          .writeHead(401, {
            'www-authenticate': `Bearer resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`,
          })
          .end(),
      '/.well-known/oauth-protected-resource/mcp': {
        resource: `${origin}/mcp`,
        authorization_servers: [origin],
      },
      '/.well-known/oauth-authorization-server': {
        issuer: origin,
        token_endpoint: `${origin}/token`,
        revocation_endpoint: `${origin}/revoke`,
        authorization_endpoint: `${origin}/authorize`,
        response_types_supported: ['code'],
        code_challenge_methods_supported: ['S256'],
        grant_types_supported: ['client_credentials'],
        token_endpoint_auth_methods_supported: ['client_secret_basic'],
      },
      '/token': (_request, response) => {
        tokens += 1;
        const answer = { access_token: `token-${tokens}`, token_type: 'Bearer', expires_in: 3600 };
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
      },
      '/revoke': (_request, response) => void response.writeHead(200).end(),
    }),
    remoteHost('mcp.example.com'),
  );
  const proxy = await connectProxy();
  const home = await temporaryHome();
  const variables = { ...home.environment.variables, HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
  const { vault } = vaultAt(home, { environment: { ...home.environment, variables } });
  const resource = `${server.origin}/mcp`;

  await vault.login(resource, {
    client: { id: 'me', secret: new Secret('my secret') },
    grant: { type: 'client_credentials' },
  });
  const { generation } = await vault.token(resource);
  await vault.token(resource, { rejectedGeneration: generation });
  await vault.logout(resource);

  expect(server.requests.filter((request) => request === 'POST /token')).toHaveLength(2);
  expect(server.requests).toContain('POST /revoke');
  const target = `mcp.example.com:${server.port}`;
  expect(proxy.targets).toEqual(server.requests.map(() => target));
});
