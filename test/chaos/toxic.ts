// A TCP proxy between clients and the gateway that harms what passes it, after toxiproxy's toxics.

export class Toxic {
  readonly port = 0
}
