// An OpenID provider for tests: oidc-provider (certified) over TLS, on a free port of this machine.
//
// Its configuration is a line of JSON on standard input: cert, key (PEM), client_id, client_secret, redirect_uris.
// It prints {"issuer": …} when it accepts connections, and ends with its standard input.  Whoever comes may say who they
// are and how they signed in: the form asks for login, amr and groups.
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const people = new Map();

function configuration(told) {
  return {
    clients: [{
      client_id: told.client_id, client_secret: told.client_secret, redirect_uris: told.redirect_uris,
      response_types: ['code'], grant_types: ['authorization_code'],
    }],
    claims: { openid: ['sub', 'amr'], profile: ['name', 'preferred_username', 'groups'] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    cookies: { keys: ['of a test'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `The ${id}`, preferred_username: id, groups: people.get(id) ?? [] }),
    }),
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile');
      await grant.save();
      return grant;
    },
  };
}

async function interaction(provider, request, response) {
  if (request.method !== 'POST') {
    response.setHeader('content-type', 'text/html');
    response.end('<form method="post"><input name="login"><input name="amr"><input name="groups"></form>');
    return;
  }
  let body = '';
  for await (const part of request) body += part;
  const form = new URLSearchParams(body);
  people.set(form.get('login'), (form.get('groups') ?? '').split(' '));
  const login = { accountId: form.get('login'), amr: (form.get('amr') ?? 'pwd').split(' ') };
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}

createInterface({ input: process.stdin }).once('line', (line) => {
  const told = JSON.parse(line);
  const server = createServer({ cert: told.cert, key: told.key });
  server.listen(0, '127.0.0.1', () => {
    const issuer = `https://127.0.0.1:${server.address().port}`;
    const provider = new Provider(issuer, configuration(told));
    const answer = provider.callback();
    server.on('request', (request, response) => {
      if (!request.url.startsWith('/interaction/')) return answer(request, response);
      return interaction(provider, request, response).catch((error) => {
        response.statusCode = 500;
        response.end(String(error));
      });
    });
    process.stdout.write(`${JSON.stringify({ issuer })}\n`);
  });
}).on('close', () => process.exit(0));
