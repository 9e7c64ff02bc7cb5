// RudderStack's client for Node, as it is published: only dataPlaneUrl points
// elsewhere.
//   npm install && node rudderstack-node.js
const Analytics = require('@rudderstack/rudder-sdk-node')
const { show } = require('./profile.js')

const rudder = new Analytics(process.env.DOSSIER_WRITE_KEY ?? 'any', {
  dataPlaneUrl: process.env.DOSSIER_SERVER ?? 'http://127.0.0.1:8360',
})

// An explicit timestamp counts, also of events of long ago.
rudder.identify({
  userId: 'fay-1', messageId: 'rudderstack-node-1', timestamp: new Date('2026-01-15T09:00:00Z'),
  traits: { name: 'Fay Rudder', email: 'fay@rudderstack.example' },
})
rudder.track({
  userId: 'fay-1', messageId: 'rudderstack-node-2', timestamp: new Date('2026-01-15T09:10:00Z'), event: 'Order Completed',
  properties: { order_id: 'R-1', revenue: 64.95, currency: 'EUR' },
})

rudder.flush()
  .then(() => show('email:fay@rudderstack.example', profile => profile.orders?.count === 1))
