// Asks for a customer until what was told of him shows, and prints him.
const server = process.env.DOSSIER_SERVER ?? 'http://127.0.0.1:8360'

exports.show = async (customer, shows) => {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await fetch(`${server}/dossier.query.v1.QueryService/GetProfile`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${process.env.DOSSIER_READ_KEY ?? 'any'}` },
      body: JSON.stringify({ customer }),
    })
    const answer = await response.json()
    if (response.ok && shows(answer.profile)) {
      console.log(JSON.stringify(answer))
      return
    }
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error(`${customer} does not show what was told`)
}
