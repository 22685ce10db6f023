"""Theory that can be computed: closed forms beside the simulations that check them."""
