from rali.cli import main

main()
