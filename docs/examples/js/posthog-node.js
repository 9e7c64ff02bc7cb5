// PostHog's client for Node, as it is published: only host points elsewhere.
//   npm install && node posthog-node.js
const { PostHog } = require('posthog-node')
const { show } = require('./profile.js')

const posthog = new PostHog(process.env.DOSSIER_WRITE_KEY ?? 'any', {
  host: process.env.DOSSIER_SERVER ?? 'http://127.0.0.1:8360',
})

posthog.identify({ distinctId: 'gus-1', properties: { name: 'Gus PostHog', email: 'gus@posthog-node.example' } })
posthog.capture({
  distinctId: 'gus-1', event: 'order completed', timestamp: new Date('2026-01-15T09:10:00Z'),
  uuid: '0190c0de-0000-7000-8000-0000000000b1',
  properties: { order_id: 'PN-1', revenue: 64.95, currency: 'EUR' },
})

posthog.shutdown()
  .then(() => show('user_id:gus-1', profile => profile.orders?.count === 1))
