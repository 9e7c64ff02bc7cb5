// Segment's client for Node, as it is published: only host points elsewhere.
//   npm install && node segment-node.js
const { Analytics } = require('@segment/analytics-node')
const { show } = require('./profile.js')

const analytics = new Analytics({
  host: process.env.DOSSIER_SERVER ?? 'http://127.0.0.1:8360',
  writeKey: process.env.DOSSIER_WRITE_KEY ?? 'any',
})

analytics.identify({
  userId: 'eve-1', messageId: 'segment-node-1', timestamp: new Date('2026-01-15T09:00:00Z'),
  traits: { name: 'Eve Node', email: 'eve@segment-node.example' },
})
analytics.track({
  userId: 'eve-1', messageId: 'segment-node-2', timestamp: new Date('2026-01-15T09:10:00Z'), event: 'Order Completed',
  properties: { order_id: 'SN-1', revenue: 64.95, currency: 'EUR', products: [{ product_id: 'p-1', price: 64.95, quantity: 1 }] },
})

analytics.closeAndFlush()
  .then(() => show('email:eve@segment-node.example', profile => profile.orders?.count === 1))
