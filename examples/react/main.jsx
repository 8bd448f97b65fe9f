// npm i signalbox react react-dom && npm i -D vite @vitejs/plugin-react
// A gateway: CORS_ORIGINS=http://localhost:5173 npm start in a clone of Signalbox. Then in this folder: npx vite

import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { SignalboxProvider, useRooms, useStatus, useValue, useValues } from 'signalbox/react'

const gateway = import.meta.env.VITE_GATEWAY ?? 'http://127.0.0.1:3000'

function Plant ({ name }) {
  const refusal = useRooms([name])
  const hosts = useValues(name, 'cpu')
  if (refusal !== null) return <li>{refusal.message}</li>
  return hosts.map(({ key, data }) => <li key={key}>{name} {key}: {JSON.stringify(data)}</li>)
}

function App () {
  const { state, reason } = useStatus()
  const host = useValue('plant-1', 'cpu', 'host-7')
  const [isChecked, setChecked] = useState(false)
  return (
    <>
      <p role='status'>{reason ?? state}</p>
      <h1>{host === undefined ? '–' : JSON.stringify(host)}</h1>
      <ul>
        <Plant name='plant-1' />
        {isChecked && <Plant name='plant-2' />}
      </ul>
      <label><input type='checkbox' checked={isChecked} onChange={() => setChecked(!isChecked)} /> plant-2 too</label>
    </>
  )
}

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <SignalboxProvider url={gateway} rooms={['plant-1']}><App /></SignalboxProvider>
  </StrictMode>
)
